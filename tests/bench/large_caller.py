"""Prompts of 400 KB, one after the other, from a process of their own: what a bench asks beside them shares no interpreter with
them."""

import asyncio
import contextlib
import itertools
import sys
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

import httpx
import msgspec

from .pii import named
from .processes import tied

LARGE, PREPARED = 400_000, 50
AT_MOST = 100_000
"""Prompts of one caller."""
_READY, _GIVEN_UP = b"ready\n", "refused"


@dataclass(slots=True)
class Caller:
    """seconds: what each prompt took, those included in which it was refused and asked again. refused: times."""

    seconds: list[float] = field(default_factory=list)
    refused: int = 0


@contextlib.asynccontextmanager
async def large_prompts(url: str, model: str, salt: int = 0) -> AsyncIterator[Caller]:
    """Runs while a caller asks; the result is filled when that has been ended. Raises RuntimeError where it ended by itself.

    salt: callers with different ones ask different prompts.
    """
    command = tied(sys.executable, "-m", __name__, url, model, str(salt))
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe)
    caller = Caller()
    assert process.stdin is not None and process.stdout is not None
    try:
        if await process.stdout.readline() != _READY:
            raise RuntimeError("the caller of large prompts did not start")
        process.stdin.write(b"\n")
        yield caller
        if process.returncode is not None:
            raise RuntimeError(f"the caller of large prompts ended with {process.returncode}")
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        told = (await process.stdout.read()).decode().split()
        await process.wait()
        caller.refused = told.count(_GIVEN_UP)
        caller.seconds = [float(each) for each in told if each != _GIVEN_UP]


def _body(model: str, number: int, salt: int) -> bytes:
    text = named(LARGE, 1_000_000 + (salt * AT_MOST + number) * 10_000)
    return msgspec.json.encode({"model": model, "messages": [{"role": "user", "content": text}]})


def _ask(url: str, bodies: Sequence[bytes], model: str, salt: int) -> None:
    """Until the process is killed; asks again, as SDKs do, while models are late."""
    headers = {"content-type": "application/json"}
    with httpx.Client(base_url=url, timeout=120, headers=headers) as client:
        for number in itertools.count():
            body = bodies[number] if number < len(bodies) else _body(model, number, salt)
            began = time.perf_counter()
            while client.post("/v1/chat/completions", content=body).status_code != httpx.codes.OK:
                print(_GIVEN_UP, flush=True)
            print(time.perf_counter() - began, flush=True)


if __name__ == "__main__":
    _, _url, _model, _salt = sys.argv
    _bodies = [_body(_model, number, int(_salt)) for number in range(PREPARED)]
    print(_READY.decode(), end="", flush=True)
    sys.stdin.readline()
    _ask(_url, _bodies, _model, int(_salt))
