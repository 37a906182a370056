"""A model server of a few lines: keeps what it received and answers what a test scripts."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Self

JSON = "application/json"
EVENTS = "text/event-stream"


@dataclass(frozen=True)
class Received:
    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


class Reply:
    """One answer being written. `gone` is set when the gateway has closed the connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self.status = 200

    async def whole(self, body: bytes, content_type: str = JSON, **headers: str) -> None:
        self._head(content_type, headers, f"content-length: {len(body)}")
        self._writer.write(body)
        await self._writer.drain()

    async def begin(self, content_type: str = EVENTS, **headers: str) -> None:
        self._head(content_type, headers, "transfer-encoding: chunked")
        await self._writer.drain()

    async def send(self, data: bytes) -> None:
        self._writer.write(b"%x\r\n%b\r\n" % (len(data), data))
        await self._writer.drain()

    async def end(self) -> None:
        self._writer.write(b"0\r\n\r\n")
        await self._writer.drain()

    async def hang_up(self) -> None:
        """Closes the connection."""
        self._writer.close()
        await self._writer.wait_closed()

    async def gone(self) -> None:
        """Returns when the gateway closed the connection."""
        await self._reader.read()

    def _head(self, content_type: str, headers: Mapping[str, str], framing: str) -> None:
        lines = [f"HTTP/1.1 {self.status} Scripted", f"content-type: {content_type}", framing]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        self._writer.write(("\r\n".join(lines) + "\r\n\r\n").encode())


class StubUpstream:
    """`answer` is called for every request."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.received: list[Received] = []
        self.answer: Callable[[Received, Reply], Awaitable[None]] = self._name

    async def _name(self, request: Received, reply: Reply) -> None:
        await reply.whole(b'{"upstream": "%b"}' % self.name.encode())

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._server.close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            async for request in _requests(reader):
                self.received.append(request)
                await self.answer(request, Reply(reader, writer))
        writer.close()


async def _requests(reader: asyncio.StreamReader) -> AsyncIterator[Received]:
    while True:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        method, path, _ = head[0].split(" ")
        pairs = [line.split(": ", 1) for line in head[1:] if line]
        headers = {name.lower(): value for name, value in pairs}
        yield Received(method, path, headers, await _body(reader, headers))


async def _body(reader: asyncio.StreamReader, headers: Mapping[str, str]) -> bytes:
    if "content-length" in headers:
        return await reader.readexactly(int(headers["content-length"]))
    body = b""
    while headers.get("transfer-encoding") == "chunked":
        size = int(await reader.readline(), 16)
        body += (await reader.readexactly(size + 2))[:-2]
        if not size:
            break
    return body
