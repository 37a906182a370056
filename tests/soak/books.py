"""What the pools tell: their books, kept by the driver."""

import asyncio
import contextlib
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from tests.soak.pool import LENGTH_BYTES, Told

_decode = msgspec.msgpack.Decoder(Told).decode


@dataclass
class Served:
    """One request as a pool had it; of a pool that was killed, what it had told. began: the event loop's time.

    leaks: personal data that arrived.
    """

    pool: str
    request: int
    began: float
    status: int = 0
    outcome: str = "running"
    prompt_tokens: int = 0
    completion_tokens: int = 0
    leaks: tuple[str, ...] = ()

    def hears(self, told: Told) -> None:
        self.status, self.outcome = told.status, told.outcome
        self.prompt_tokens, self.completion_tokens = told.prompt_tokens, told.completion_tokens


class PoolBooks:
    """`async with PoolBooks(socket)`: pools connect there. by_request: the caller's number → what the pools had of it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.by_request: defaultdict[int, list[Served]] = defaultdict(list)
        self._running = 0
        self._exit = contextlib.AsyncExitStack()

    @property
    def running(self) -> int:
        """Requests that a living pool has not closed."""
        return self._running

    async def __aenter__(self) -> Self:
        server = await asyncio.start_unix_server(self._follow, self.path, limit=1 << 26)
        self._exit.callback(server.close)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self._exit.aclose()

    async def _follow(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One life of one pool."""
        open_now: dict[int, Served] = {}
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                length = int.from_bytes(await reader.readexactly(LENGTH_BYTES), "big")
                self._note(_decode(await reader.readexactly(length)), open_now)
        self._running -= len(open_now)
        for served in open_now.values():
            served.outcome = "killed"
        writer.close()

    def _note(self, told: Told, open_now: dict[int, Served]) -> None:
        if told.opens:
            served = Served(told.pool, told.request, asyncio.get_running_loop().time(), leaks=told.leaks)
            open_now[told.number] = served
            self.by_request[told.request].append(served)
            self._running += 1
        if (known := open_now.get(told.number)) is None:
            return
        known.hears(told)
        if told.outcome != "running":
            del open_now[told.number]
            self._running -= 1
