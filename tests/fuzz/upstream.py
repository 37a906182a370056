"""A model server that keeps every byte as it came, and answers by what a usual JSON parser makes of them.

It reads HTTP as strictly as can be: what is left on a connection, or is framed twice, is kept as what it is, for the judge.
"""

import asyncio
import json
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

TAG = b"x-fuzz"
PROMPT_TOKENS, ANSWER_TOKENS = 11, 7
USAGE = {"prompt_tokens": PROMPT_TOKENS, "completion_tokens": ANSWER_TOKENS, "total_tokens": PROMPT_TOKENS + ANSWER_TOKENS}
USAGE_ANTHROPIC = {"input_tokens": PROMPT_TOKENS, "output_tokens": ANSWER_TOKENS}


@dataclass(frozen=True)
class Received:
    """One request. head: its bytes, the blank line included. body: without chunks' framing."""

    upstream: str
    head: bytes
    body: bytes
    faults: tuple[str, ...] = ()

    @property
    def lines(self) -> list[bytes]:
        return self.head.split(b"\r\n")[:-2]

    @property
    def method(self) -> str:
        return self.lines[0].split(b" ")[0].decode("latin-1")

    @property
    def target(self) -> str:
        return self.lines[0].split(b" ")[1].decode("latin-1")

    @property
    def tag(self) -> str:
        return self.header(TAG).decode("latin-1")

    def headers(self) -> list[tuple[bytes, bytes]]:
        pairs = (line.partition(b":") for line in self.lines[1:])
        return [(name.lower(), value.strip()) for name, _, value in pairs]

    def header(self, name: bytes) -> bytes:
        """All its values, joined."""
        return b", ".join(value for key, value in self.headers() if key == name)


class Malformed(Exception):
    """What came is not one request; the message says what."""


@dataclass
class RawUpstream:
    name: str
    received: list[Received] = field(default_factory=list)
    broken: list[bytes] = field(default_factory=list)
    """What was no request, as it came."""

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=1 << 25)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._server.close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await _head(reader):
                request = await _request(self.name, head, reader)
                self.received.append(request)
                writer.write(answer_to(request))
                await writer.drain()
        except Malformed as error:
            self.broken.append(str(error).encode())
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the caller hung up, and the gateway after it
        finally:
            writer.close()


async def _head(reader: asyncio.StreamReader) -> bytes:
    """Raises Malformed for bytes that end without being a head."""
    try:
        return await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as error:
        if error.partial:
            raise Malformed(f"half a head: {error.partial[:200]!r}") from None
        return b""


async def _request(upstream: str, head: bytes, reader: asyncio.StreamReader) -> Received:
    bare = Received(upstream, head, b"")
    faults = tuple(_faults(head))
    lengths = [value for name, value in bare.headers() if name == b"content-length"]
    codings = [value for name, value in bare.headers() if name == b"transfer-encoding"]
    if len(lengths) + len(codings) > 1:
        faults += ("framed twice",)
    if codings:
        return Received(upstream, head, await _chunks(reader), faults)
    if lengths and not lengths[0].isdigit():
        raise Malformed(f"a length that is none: {head!r}")
    return Received(upstream, head, await reader.readexactly(int(lengths[0]) if lengths else 0), faults)


def _faults(head: bytes) -> list[str]:
    plain = head.replace(b"\r\n", b"")
    found = [name for name, byte in (("a line feed", b"\n"), ("a carriage return", b"\r"), ("a null byte", b"\0")) if byte in plain]
    if any(line[:1] in (b" ", b"\t") for line in head.split(b"\r\n")[1:]):
        found.append("a folded line")
    if len(head.split(b"\r\n")[0].split(b" ")) != 3:
        found.append("a request line of other than three words")
    return found


async def _chunks(reader: asyncio.StreamReader) -> bytes:
    body = b""
    while True:
        line = await reader.readuntil(b"\r\n")
        size = int(line.split(b";")[0].strip() or b"x", 16)
        if not size:
            while await reader.readuntil(b"\r\n") != b"\r\n":
                pass  # trailers
            return body
        body += await reader.readexactly(size)
        if await reader.readexactly(2) != b"\r\n":
            raise Malformed("a chunk longer than it says")


def answer_to(request: Received) -> bytes:
    """200 with usage and the request's tag, as an event stream where the body asks for one. HEAD has no body."""
    usage = USAGE_ANTHROPIC if request.target.split("?")[0].lower().rstrip("/").endswith("messages") else USAGE
    document = {"id": "1", "tag": request.tag, "model": "m", "choices": [], "content": [], "usage": usage}
    kind, body = b"application/json", json.dumps(document).encode()
    if _streams(request.body):
        first = json.dumps({"tag": request.tag, "choices": [{"index": 0, "delta": {"content": "a"}}]}).encode()
        kind, body = b"text/event-stream", b"data: " + first + b"\n\ndata: " + body + b"\n\ndata: [DONE]\n\n"
    head = b"HTTP/1.1 200 OK\r\ncontent-type: %b\r\ncontent-length: %d\r\n\r\n" % (kind, len(body))
    return head if request.method == "HEAD" else head + body


def _streams(body: bytes) -> bool:
    try:
        document: Any = json.loads(body)
    except (ValueError, RecursionError):
        return False
    return isinstance(document, dict) and document.get("stream") is True
