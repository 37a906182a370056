"""An upstream that answers as no server should."""

import asyncio
import contextlib
import zlib
from asyncio import StreamReader, StreamWriter
from collections.abc import Awaitable, Callable, Mapping
from functools import cache
from types import TracebackType
from typing import Self

from tests.soak.faults.proxy import Address

DRIP_S = 0.05
BOMB_MB = 64
"""What some 64 KB become for who unpacks them."""
ENDLESS = 100_000
"""Headers, more than anybody takes."""

OK = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
BEGINNING = b'{"id":"chatcmpl-rude","object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant","content":"'

Manner = Callable[[StreamWriter], Awaitable[None]]


@cache
def bomb() -> bytes:
    """The beginning of a document, and then nothing for as long as one likes."""
    packer = zlib.compressobj(wbits=zlib.MAX_WBITS | 16)  # gzip's format
    packed = [packer.compress(BEGINNING), *(packer.compress(bytes(1 << 20)) for _ in range(BOMB_MB))]
    return b"".join(packed) + packer.flush()


async def _send(writer: StreamWriter, *parts: bytes) -> None:
    for part in parts:
        writer.write(part)
        await writer.drain()


async def _garbage(writer: StreamWriter) -> None:
    await _send(writer, bytes(range(256)) * 64)


async def _endless_headers(writer: StreamWriter) -> None:
    await _send(writer, OK, *(b"x-%d: %s\r\n" % (number, b"y" * 100) for number in range(ENDLESS)))


async def _short(writer: StreamWriter) -> None:
    """Less than its content-length says."""
    await _send(writer, OK, b"content-length: 100000\r\n\r\n", BEGINNING)


async def _two_lengths(writer: StreamWriter) -> None:
    await _send(writer, OK, b"content-length: 5\r\ncontent-length: 500\r\n\r\n", BEGINNING)


async def _bad_chunks(writer: StreamWriter) -> None:
    await _send(writer, OK, b"transfer-encoding: chunked\r\n\r\n", b"5\r\n{    \r\n", b"zz\r\nnothing")


async def _bomb(writer: StreamWriter) -> None:
    await _send(writer, OK, b"content-encoding: gzip\r\ncontent-length: %d\r\n\r\n" % len(bomb()), bomb())


async def _silent(writer: StreamWriter) -> None:
    """Takes the request, and never answers."""
    await asyncio.Event().wait()


async def _drip(writer: StreamWriter) -> None:
    """An answer that does not come to its end."""
    await _send(writer, OK, b"content-length: 1000000\r\n\r\n")
    while True:
        await _send(writer, b" ")
        await asyncio.sleep(DRIP_S)


async def _hang_up(writer: StreamWriter) -> None:
    """As soon as it has the request."""


MANNERS: Mapping[str, Manner] = {
    "garbage": _garbage,
    "endless headers": _endless_headers,
    "short": _short,
    "two lengths": _two_lengths,
    "bad chunks": _bad_chunks,
    "gzip bomb": _bomb,
    "silent": _silent,
    "drip": _drip,
    "hang up": _hang_up,
}


class RudeUpstream:
    """`async with RudeUpstream() as upstream:` answers at upstream.address in its `manner`, one of MANNERS, and closes then."""

    def __init__(self, manner: str = "garbage") -> None:
        self.manner = manner
        self.asked = 0
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def address(self) -> Address:
        assert self._server is not None, "it has not been entered"
        return Address(*self._server.sockets[0].getsockname()[:2])

    def _accept(self, reader: StreamReader, writer: StreamWriter) -> None:
        task = asyncio.ensure_future(self._answer(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, reader: StreamReader, writer: StreamWriter) -> None:
        """What comes after the request's head is left unread, as by a server that has no interest in it."""
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            self.asked += 1
            await MANNERS[self.manner](writer)
        writer.close()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
