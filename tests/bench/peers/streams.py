"""Streams read at the caller's end: when each word came, and what the whole text and the tools' arguments were."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import msgspec

from tests.bench.rounds import Gateway

from .chunked import Answer

SPACE = " "  # ends each of the model's words
_DATA = b"data:"


class Function(msgspec.Struct):
    arguments: str | None = None


class ToolCall(msgspec.Struct):
    function: Function = msgspec.field(default_factory=Function)


class Delta(msgspec.Struct):
    content: str | None = None
    tool_calls: list[ToolCall] | None = None


class Choice(msgspec.Struct):
    delta: Delta = msgspec.field(default_factory=Delta)


class Chunk(msgspec.Struct):
    choices: list[Choice] = []


_decode = msgspec.json.Decoder(Chunk).decode


@dataclass
class Stream:
    """One answer as its caller saw it. asked, arrived: seconds of the monotonic clock; problem: empty when it ended well."""

    asked: float
    arrived: list[float] = field(default_factory=list)
    content: list[str] = field(default_factory=list)
    arguments: list[str] = field(default_factory=list)
    problem: str = "it did not end"

    def take(self, line: bytes, now: float) -> None:
        """A line of the stream. Raises msgspec.DecodeError."""
        data = line[len(_DATA) :].strip() if line.startswith(_DATA) else b""
        if data == b"[DONE]":
            self.problem = ""
        elif data:
            for choice in _decode(data).choices:
                self._take(choice.delta, now)

    def _take(self, delta: Delta, now: float) -> None:
        if delta.content:
            self.content.append(delta.content)
            self.arrived += [now] * delta.content.count(SPACE)
        for call in delta.tool_calls or ():
            self.arguments.append(call.function.arguments or "")


class _Reader(asyncio.Protocol):
    def __init__(self, request: bytes) -> None:
        self.stream = Stream(time.monotonic())
        self.done = asyncio.get_running_loop().create_future()
        self._request, self._answer, self._rest = request, Answer(), b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.stream.asked = time.monotonic()
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        now = time.monotonic()
        try:
            self._lines(self._answer.feed(data), now)
        except (ValueError, msgspec.DecodeError) as error:
            self._finish(f"not an answer: {error}")
        if self._answer.status not in (0, 200):
            self._finish(f"status {self._answer.status}")
        elif self._answer.ended:
            self._finish(self.stream.problem)

    def _lines(self, body: bytes, now: float) -> None:
        *lines, self._rest = (self._rest + body).split(b"\n")
        for line in lines:
            self.stream.take(line, now)

    def connection_lost(self, exc: Exception | None) -> None:
        self._finish(self.stream.problem)

    def _finish(self, problem: str) -> None:
        self.stream.problem = problem
        if not self.done.done():
            self.done.set_result(None)


async def read(gateway: Gateway, prompt: str, events: int, patience: float) -> Stream:
    """One stream over a connection of its own, given up after `patience` seconds."""
    address = urlsplit(gateway.url)
    request = _request(gateway, address.netloc, prompt, events)
    host, port = address.hostname or "", address.port or 80
    transport, reader = await asyncio.get_running_loop().create_connection(lambda: _Reader(request), host, port)
    try:
        await asyncio.wait([reader.done], timeout=patience)
    finally:
        transport.abort()
    return reader.stream


def _request(gateway: Gateway, host: str, prompt: str, events: int) -> bytes:
    body = msgspec.json.encode(chat(prompt, max_tokens=events, stream=True))
    fields = {"host": host, "content-type": "application/json", "content-length": str(len(body)), **headers(gateway)}
    lines = ("POST /v1/chat/completions HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items()))
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + body


def chat(prompt: str, **more: object) -> Mapping[str, object]:
    """A chat completion request as `chat.lua` makes them."""
    system = {"role": "system", "content": "You are a helpful assistant."}
    return {"model": "llama-3.3-70b", "messages": [system, {"role": "user", "content": prompt}], **more}


def headers(gateway: Gateway) -> Mapping[str, str]:
    """What the gateway wants to see of its callers."""
    return {"authorization": f"Bearer {gateway.key}", **gateway.headers}


async def together(gateway: Gateway, names: Sequence[str], events: int, *, over: float, patience: float) -> Sequence[Stream]:
    """Paced streams that begin evenly within `over` seconds; each is given up after `patience` seconds."""

    async def one(index: int, name: str) -> Stream:
        await asyncio.sleep(over * index / len(names))
        return await read(gateway, f"Paced {name} by the mill", events, patience)

    return await asyncio.gather(*(one(index, name) for index, name in enumerate(names)))
