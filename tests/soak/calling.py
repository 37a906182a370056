"""The callers, in a process of their own: their work shall not keep waiting what else the driver does, its proxies least of all.

`python -m tests.soak.calling`: the first line of standard input is a `Told`, every other one `[NUMBER, ROUND]`, in JSON; for each
of these a verdict goes to standard output, pickled, after its length. Times are of the machine's monotonic clock, which the driver
has, too.
"""

import asyncio
import contextlib
import pickle
import sys
from types import TracebackType
from typing import Any, Self

import msgspec
import uvloop
from joserfc.jwk import OKPKey

from tests.soak.asks import drawn
from tests.soak.callers import Callers
from tests.soak.heard import Verdict, judged

LENGTH_BYTES = 4


class Told(msgspec.Struct):
    """signer: the private key of the tokens, as a JWK."""

    url: str
    signer: dict[str, Any]
    seed: int


class Calling:
    """`async with`: the process. One at a time may be asked for many verdicts at once."""

    def __init__(self, url: str, signer: OKPKey, seed: int) -> None:
        self._told = Told(url, dict(signer.as_dict(private=True)), seed)
        self._waiting: dict[int, asyncio.Future[Verdict]] = {}
        self._process: asyncio.subprocess.Process
        self._hearing: asyncio.Task[None]

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.soak.calling"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        self._write(self._told)
        self._hearing = asyncio.create_task(self._hear())
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._hearing.cancel()
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()

    async def ask(self, number: int, round_: int) -> Verdict:
        """The request of that number. Raises AssertionError where the process has ended."""
        assert not self._hearing.done(), "the callers' process has ended"
        answer: asyncio.Future[Verdict] = asyncio.get_running_loop().create_future()
        self._waiting[number] = answer
        self._write((number, round_))
        return await answer

    def _write(self, line: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(msgspec.json.encode(line) + b"\n")

    async def _hear(self) -> None:
        assert self._process.stdout is not None
        try:
            while True:
                verdict = await _next(self._process.stdout)
                self._waiting.pop(verdict.ask.number).set_result(verdict)
        except asyncio.IncompleteReadError:
            for answer in self._waiting.values():
                answer.set_exception(AssertionError("the callers' process has ended"))


async def _next(reader: asyncio.StreamReader) -> Verdict:
    length = int.from_bytes(await reader.readexactly(LENGTH_BYTES), "big")
    verdict = pickle.loads(await reader.readexactly(length))  # of our own child
    assert isinstance(verdict, Verdict)
    return verdict


async def _serve() -> None:
    reader = asyncio.StreamReader(limit=1 << 20)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    told = msgspec.json.decode(await reader.readline(), type=Told)
    async with Callers(told.url, OKPKey.import_key(told.signer)) as callers, asyncio.TaskGroup() as asking:
        while line := await reader.readline():
            number, round_ = msgspec.json.decode(line, type=tuple[int, int])
            asking.create_task(_one(callers, told.seed, number, round_))


async def _one(callers: Callers, seed: int, number: int, round_: int) -> None:
    verdict = pickle.dumps(judged(await callers.ask(drawn(seed, number, round_))))
    sys.stdout.buffer.write(len(verdict).to_bytes(LENGTH_BYTES, "big") + verdict)
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    uvloop.run(_serve())
