"""The site's processes: each has a pid, can be killed with SIGKILL at any moment, and started again at the same address."""

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from headrace.ext_proc.envoy.process import EnvoyProcess
from headrace.ext_proc.service.names import FORK_SERVER, WORKER
from tests.e2e.served import HEADRACE, ended
from tests.service.waiting import children, lives, name, with_name, workers_of
from tests.stores.servers import Server

START_S = 60.0
"""For a process to serve, on a machine that is busy with other things."""


class Part(Protocol):
    """One process of the site. `start` returns when it serves; `kill` when it is gone."""

    @property
    def pid(self) -> int: ...
    @property
    def running(self) -> bool: ...
    async def start(self) -> object: ...
    async def kill(self) -> None: ...


class Store:
    """Valkey with an append-only file that is synced before every answer: what it answered, it has."""

    OPTIONS = ("--bind", "127.0.0.1", "--save", "", "--appendonly", "yes", "--appendfsync", "always")

    def __init__(self, folder: Path, port: int) -> None:
        self.server = Server(folder, port, *self.OPTIONS)

    @property
    def pid(self) -> int:
        return self.server.pid

    @property
    def running(self) -> bool:
        return self.server.running

    async def start(self) -> None:
        await asyncio.to_thread(self.server.start)

    async def kill(self) -> None:
        await asyncio.to_thread(self.server.kill)


class Child:
    """A process of our own."""

    _process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None, "start() comes first"
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.returncode is None


class Pool(Child):
    """A simulated pool in a process of its own, whose books arrive at the driver's socket."""

    def __init__(self, name: str, port: int, books: Path) -> None:
        self.name, self.port, self._books = name, port, books

    async def start(self) -> None:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.soak.pool", self.name, str(self.port), str(self._books), stdout=asyncio.subprocess.PIPE
        )
        assert self._process.stdout is not None
        async with asyncio.timeout(START_S):
            assert await self._process.stdout.readline() == b"listens\n", f"the pool {self.name} did not start"

    async def kill(self) -> None:
        await _killed(self._process)


class Gateway:
    """Envoy; every start is another one, at the same port."""

    def __init__(self, bootstrap: str, folder: Path, *, concurrency: int = 2) -> None:
        self._bootstrap, self._folder, self._concurrency = bootstrap, folder, concurrency
        self._envoy: EnvoyProcess | None = None
        self._starts = 0

    @property
    def envoy(self) -> EnvoyProcess:
        assert self._envoy is not None, "start() comes first"
        return self._envoy

    @property
    def pid(self) -> int:
        return self.envoy.pid

    @property
    def running(self) -> bool:
        return self._envoy is not None and lives(self.pid)

    async def start(self) -> None:
        folder = self._folder / f"envoy-{self._starts}"
        folder.mkdir()
        self._starts += 1
        self._envoy = EnvoyProcess(self._bootstrap, folder, concurrency=self._concurrency)
        await self._envoy.start(START_S)
        as_urgent(self.pid)

    async def kill(self) -> None:
        if self._envoy is not None:
            with contextlib.suppress(ProcessLookupError):
                self._envoy.kill()
            await self._envoy.wait()


class Service(Child):
    """`headrace serve`: pid is the supervisor's, whose children are the workers."""

    def __init__(self, folder: Path, policy: Path, arguments: Sequence[str], environment: Mapping[str, str]) -> None:
        self.log = folder / "service.log"
        """What its processes wrote to standard error, over all starts."""
        self._mark = f"TMPDIR={folder}\0".encode()
        """In the environment of all its processes, and of no others."""
        self._arguments = (*HEADRACE, "serve", str(policy), *arguments)
        self.steady = asyncio.Lock()
        """Held while the service starts, and while a policy is there that it could not start with."""
        self.restore: Callable[[], None] = lambda: None
        """Puts a policy there that it can start with."""
        self._environment = {**os.environ, "TMPDIR": str(folder), **environment}

    def workers(self) -> list[int]:
        """The process ids of the workers that run, of those, too, whose fork server does not run any more."""
        if not lives(self.pid):
            return []
        return sorted({*workers_of(self.pid), *(pid for pid in with_name(WORKER) if self._mark in _environment(pid))})

    def fork_server(self) -> int | None:
        """The process id of the one that there is, if there is one."""
        found = [pid for pid in children(self.pid) if name(pid) == FORK_SERVER]
        return found[0] if found else None

    async def start(self) -> dict[str, Any]:
        """The line of its log that says where it serves."""
        async with self.steady:
            self.restore()
            return await self._start()

    async def _start(self) -> dict[str, Any]:
        before = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(*self._arguments, stderr=log, env=self._environment)
        found: list[dict[str, Any]] = []

        def serves() -> bool:
            assert self._process is not None and self._process.returncode is None, (
                f"the service ended: {self.log.read_text()[before:]}"
            )
            found[:] = [line for line in self.lines(before) if line.get("message") == "serving"]
            return bool(found)

        await _until(serves, "the service serves")
        return found[0]

    def lines(self, offset: int = 0) -> list[dict[str, Any]]:
        """Of the log, from that byte on; what is no JSON, such as why a start failed, is passed over."""
        with self.log.open("rb") as log:
            log.seek(offset)
            return [json.loads(line) for line in log.read().split(b"\n")[:-1] if line.startswith(b"{")]

    async def kill(self) -> None:
        """The supervisor alone; returns when its workers are gone, too."""
        left = children(self.pid) if lives(self.pid) else []
        await _killed(self._process)
        await _until(lambda: not any(map(lives, left)), "the workers end with their supervisor")

    async def stop(self) -> None:
        """As an operator does: what waits is settled first."""
        if self._process is not None and self._process.returncode is None:
            await ended(self._process)


def as_urgent(pid: int) -> None:
    """Gives the process's session the priority that this process was started with.

    Where Linux groups processes by session, a process's own priority counts within its session alone; Envoy has one of its own.
    """
    with contextlib.suppress(OSError):
        Path(f"/proc/{pid}/autogroup").write_text(str(os.nice(0)))


async def _until(holds: Callable[[], bool], what: str) -> None:
    deadline = asyncio.get_running_loop().time() + START_S
    while not holds():
        assert asyncio.get_running_loop().time() < deadline, f"not within {START_S:g} s: {what}"
        await asyncio.sleep(0.05)


async def _killed(process: asyncio.subprocess.Process | None) -> None:
    if process is not None:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def _environment(pid: int) -> bytes:
    """A forked worker's is its fork server's. Empty for a process that has ended."""
    try:
        return Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return b""
