"""What the supervisor and a worker tell each other, and the channel they do it over: a socket pair, one JSON document a line.

Either end reads the end of the channel as the death of the other.
"""

import asyncio
import socket
from collections.abc import AsyncIterator, Mapping, Sequence

import msgspec

from headrace.ext_proc.engine.load.board import Heard
from headrace.ext_proc.engine.policy.gateways import Gateway
from headrace.ext_proc.envoy.transport import DEFAULT, Tls, Transport
from headrace.ext_proc.telemetry.samples import Sample

LINE = 16 * 1024 * 1024
"""Bytes of one message. The largest is a worker's report: a few hundred bytes for each of at most some thousand series."""


class Settings(msgspec.Struct, frozen=True, tag="settings"):
    """What a worker is to do; the first message. It is not on the command line because a store's URL may hold a password.

    decisions: a file, "-" for standard output, empty for none. otlp: the collector's base URL, empty for no traces. environment:
    what a worker's environment lacks; secrets that all workers of a service share.
    """

    number: int
    policy: str
    listen: str
    store: str
    decisions: str = ""
    otlp: str = ""
    log_level: str = "info"
    socket_mode: int = 0o600
    transport: Transport = DEFAULT
    tls: Tls | None = None
    gateway: Gateway = Gateway.ENVOY
    environment: dict[str, str] = msgspec.field(default_factory=dict)


class Reload(msgspec.Struct, frozen=True, tag="reload"):
    """Look at the policy's files again, and open the decision log anew."""


class Drain(msgspec.Struct, frozen=True, tag="drain"):
    """Take no new streams, let the open ones go on for `seconds`, settle, and end.

    notice: turn unready first, and give the proxy's health check the time to see it.
    """

    seconds: float
    notice: bool = True


class AskReport(msgspec.Struct, frozen=True, tag="ask_report"):
    """Send a Report now."""


class Ready(msgspec.Struct, frozen=True, tag="ready"):
    """The worker serves at `address`."""

    address: str


class Failed(msgspec.Struct, frozen=True, tag="failed"):
    """The worker cannot start; `lines` say why. The process ends after this."""

    lines: Sequence[str]


class PolicyState(msgspec.Struct, frozen=True, tag="policy"):
    """The policy in force. problems: of the policy that was offered last and refused; empty when it is the one in force.

    loaded_ms: since when it is in force. files: those the policy names, in order. audit: where its audit log is; empty for none.
    needs_store: whether it refuses every LLM call while the store is away.
    """

    revision: str
    loaded_ms: int
    problems: Sequence[str] = ()
    files: Sequence[str] = ()
    audit: str = ""
    needs_store: bool = False


class Report(msgspec.Struct, frozen=True, tag="report"):
    """What the worker has counted since it started, and what it last heard of the servers that it chooses among."""

    samples: Sequence[Sample]
    servers: Mapping[str, Heard | None] = {}


Order = Settings | Reload | Drain | AskReport
Notice = Ready | Failed | PolicyState | Report

_encode = msgspec.json.Encoder().encode
_order = msgspec.json.Decoder(Order).decode
_notice = msgspec.json.Decoder(Notice).decode


class Channel:
    """One end. `send` never waits: messages are small or rare."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, end: socket.socket) -> "Channel":
        """Takes the socket over."""
        return cls(*await asyncio.open_connection(sock=end, limit=LINE))

    def send(self, message: Order | Notice) -> None:
        """Lost without a word when the other end is gone; reading tells of that."""
        if not self._writer.is_closing():
            self._writer.write(_encode(message) + b"\n")

    async def flush(self) -> None:
        """Returns when what was sent is out, or the other end is gone."""
        try:
            await self._writer.drain()
        except ConnectionError:
            return

    async def orders(self) -> AsyncIterator[Order]:
        """The supervisor's messages, until it is gone."""
        async for line in self._lines():
            yield _order(line)

    async def notices(self) -> AsyncIterator[Notice]:
        """The worker's messages, until it is gone."""
        async for line in self._lines():
            yield _notice(line)

    async def _lines(self) -> AsyncIterator[bytes]:
        while line := await self._line():
            yield line

    async def _line(self) -> bytes:
        try:
            return await self._reader.readline()
        except ConnectionError:
            return b""

    def close(self) -> None:
        self._writer.close()
