"""A proxy on loopback or a Unix socket whose network is as bad as told, and may change at any moment.

`async with FaultProxy(Address(...), seed=1) as proxy:` takes connections at proxy.address. What it does to a connection follows
from the seed and the connection's number.
"""

import asyncio
import contextlib
import socket
import struct
from asyncio import StreamReader, StreamWriter
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from random import Random
from types import TracebackType
from typing import Self

from tests.soak.faults.network import CLEAR, Weather, pieces

READ_BYTES = 65_536
APART_S = 0.0005
"""Between two pieces, so that who receives them reads each by itself."""
RESET = struct.pack("ii", 1, 0)
"""SO_LINGER on, for no time: close() throws away what was not sent and answers with RST."""


@dataclass(frozen=True, slots=True)
class Address:
    """A Unix socket where `path` is given, else TCP."""

    host: str = "127.0.0.1"
    port: int = 0
    path: Path | None = None

    async def connect(self) -> tuple[StreamReader, StreamWriter]:
        """Raises OSError."""
        if self.path is not None:
            return await asyncio.open_unix_connection(self.path)
        return await asyncio.open_connection(self.host, self.port)

    def __str__(self) -> str:
        return f"unix:{self.path}" if self.path else f"{self.host}:{self.port}"


@dataclass(eq=False)
class Passage:
    """One connection through the proxy. dead: bytes are taken from either side and come to nothing; nobody is told."""

    client: StreamWriter
    server: StreamWriter
    random: Random
    dead: bool = field(default=False)

    def abort(self) -> None:
        """Both sides get a RST, or on a Unix socket an end in mid-air."""
        for side in (self.client, self.server):
            _reset(side)


def _reset(writer: StreamWriter) -> None:
    end: socket.socket = writer.get_extra_info("socket")
    if end.family != socket.AF_UNIX and end.fileno() >= 0:
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    writer.transport.abort()


class FaultProxy:
    """weather: in force from the next piece on. down: new connections are reset at once. opened: connections ever."""

    def __init__(self, target: Address, *, seed: int = 0, listen: Address | None = None) -> None:
        """listen: where; a free port of loopback otherwise."""
        self.target, self.address = target, listen or Address()
        self.weather, self.down, self.opened = CLEAR, False, 0
        self._seed, self._numbers = seed, count(1)
        self._passages: set[Passage] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Raises OSError."""
        if self.address.path is not None:
            self.address.path.unlink(missing_ok=True)
            self._server = await asyncio.start_unix_server(self._accept, self.address.path)
            return
        self._server = await asyncio.start_server(self._accept, self.address.host, self.address.port)
        self.address = Address(*self._server.sockets[0].getsockname()[:2])

    async def stop(self) -> None:
        assert self._server is not None, "start() comes first"
        self._server.close()
        self.reset()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def open(self) -> int:
        """Connections there are."""
        return len(self._passages)

    def reset(self) -> int:
        """Every connection ends with a RST, now; how many those were."""
        passages, self._passages = self._passages, set()
        for passage in passages:
            passage.abort()
        return len(passages)

    def vanish(self, *, server_knows: bool = False) -> int:
        """Both ends of every connection go on believing in it, and hear nothing any more, until reset(); how many those are.

        server_knows: it is half open; the server's side is reset, the client is told nothing.
        """
        for passage in self._passages:
            passage.dead = True
            if server_knows:
                _reset(passage.server)
        return len(self._passages)

    def bury(self) -> None:
        """Whoever still believes in a connection that has vanished is told with a RST."""
        for passage in [passage for passage in self._passages if passage.dead]:
            passage.abort()

    def _accept(self, reader: StreamReader, writer: StreamWriter) -> None:
        task = asyncio.ensure_future(self._pass(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _pass(self, reader: StreamReader, writer: StreamWriter) -> None:
        """One connection, from its first byte to its end."""
        self.opened += 1
        random = Random(f"{self._seed}:{next(self._numbers)}")
        if self.down:
            _reset(writer)
            return
        try:
            server_reader, server = await self.target.connect()
        except OSError:
            _reset(writer)
            return
        passage = Passage(writer, server, random)
        self._passages.add(passage)
        try:
            await self._both_ways(passage, reader, server_reader)
        finally:
            self._passages.discard(passage)
            for side in (writer, server):
                side.close()

    async def _both_ways(self, passage: Passage, of_client: StreamReader, of_server: StreamReader) -> None:
        """A reset of one side is passed to the other."""
        try:
            async with asyncio.TaskGroup() as ways:
                ways.create_task(self._pump(passage, of_client, passage.server))
                ways.create_task(self._pump(passage, of_server, passage.client))
        except* OSError:
            passage.abort()

    async def _pump(self, passage: Passage, source: StreamReader, sink: StreamWriter) -> None:
        """One direction, until it ends. Raises OSError where either side is reset."""
        while data := await source.read(READ_BYTES):
            weather = self.weather
            await _travel(len(data), weather, passage.random)
            for piece in pieces(data, passage.random) if weather.split else (data,):
                if not passage.dead:
                    sink.write(piece)
                    await sink.drain()
                if weather.split:
                    await asyncio.sleep(APART_S)
        if not passage.dead:
            _end(sink)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.stop()


async def _travel(size: int, weather: Weather, random: Random) -> None:
    """Returns when so many bytes have arrived. Raises ConnectionResetError where they never do."""
    if weather.lost and random.random() < weather.lost:
        await asyncio.sleep(weather.stalled_s)
        if random.random() < weather.cut:
            raise ConnectionResetError("cut, as told")
    if delay := weather.delay_s(size, random):
        await asyncio.sleep(delay)


def _end(sink: StreamWriter) -> None:
    """Tells the other side that nothing more comes; it may still have something to say."""
    with contextlib.suppress(OSError):
        if sink.can_write_eof() and not sink.transport.is_closing():
            sink.write_eof()
