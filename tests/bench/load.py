"""The load: Debian's wrk with `chat.lua`."""

import asyncio
import itertools
import shutil
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

SCRIPT = Path(__file__).with_name("chat.lua")
PACED = SCRIPT.with_name("paced.lua")
_NONE: Mapping[str, str] = {}
_seeds: Iterator[int] = itertools.count(time.time_ns() // 1_000_000_000)  # no two loads send the same prompts


class MissingToolError(Exception):
    """A program the bench needs is not installed; the message says which."""


class Load(msgspec.Struct, frozen=True):
    """What one run of wrk saw. `refused`: answers with status 400 and above. `broken`: connections, reads and timeouts."""

    requests: int
    seconds: float
    p50_ms: float
    p99_ms: float
    refused: int
    broken: int

    @property
    def rps(self) -> float:
        """Requests per second."""
        return self.requests / self.seconds

    @property
    def problems(self) -> list[str]:
        """Why this load proves nothing; empty when every request was answered well."""
        found = [f"{self.refused} of {self.requests} answers were errors"] if self.refused else []
        return found + ([f"{self.broken} requests broke off"] if self.broken else [])


def wrk() -> str:
    """The path of wrk. Raises MissingToolError."""
    if path := shutil.which("wrk"):
        return path
    raise MissingToolError("the bench's load generator is wrk, which is not installed: apt-get install wrk")


async def load(
    url: str, key: str, *, connections: int, seconds: int, pause_ms: int = 0, headers: Mapping[str, str] = _NONE
) -> Load:
    """Chat completions as fast as `connections` keep-alive connections get answers; each after a pause of `pause_ms` on average."""
    script, arguments = (PACED, [str(pause_ms)]) if pause_ms else (SCRIPT, [])
    more = [option for name, value in headers.items() for option in ("-H", f"{name}: {value}")]
    options = ["-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "10s", *more, "-s", str(script), url]
    arguments = ["--", key, str(next(_seeds)), *arguments]
    process = await asyncio.create_subprocess_exec(
        wrk(), *options, *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await process.communicate()
    lines = [line for line in output.splitlines() if line.startswith(b"{")]
    if process.returncode or not lines:
        raise RuntimeError(f"wrk ended with status {process.returncode}: {output.decode(errors='replace')}")
    return msgspec.json.decode(lines[-1], type=Load)
