"""A connection's asyncio protocol: bytes from the socket, events to the calls, one write for each turn of the loop."""

import asyncio
import logging
import ssl
from collections.abc import Callable, Mapping
from typing import Any, cast

from headrace.ext_proc.envoy.h2.calls import H2Call
from headrace.ext_proc.envoy.h2.connection import Connection
from headrace.ext_proc.envoy.h2.errors import ErrorCode
from headrace.ext_proc.envoy.h2.events import Data, Drained, Ended, Event, Opened, Reset, Terminated
from headrace.ext_proc.envoy.h2.limits import HANDSHAKE_S, STALL_S, Load
from headrace.ext_proc.envoy.transport import Methods, Status

log = logging.getLogger(__name__)

WRITE_HIGH = 256 * 1024
"""Bytes in the socket's buffer from which on calls wait with their next message, and nothing more is read."""


class H2Protocol(asyncio.Protocol):
    """Serves `methods` to one peer. lines: the server's connections."""

    def __init__(self, methods: Methods, load: Load, lines: "Lines") -> None:
        self.connection = Connection()
        self.load = load
        self.writable: asyncio.Future[None] | None = None
        self._methods = methods
        self._lines = lines
        self._calls: dict[int, H2Call] = {}
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport
        self._limit: asyncio.TimerHandle | None = None
        self._flushing = False

    # --- from the loop --------------------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._lines.join(self)
        self._transport.set_write_buffer_limits(WRITE_HIGH)
        if not _speaks_http2(transport):
            self._transport.abort()
            return
        self._limit = self._loop.call_later(HANDSHAKE_S, self._give_up, "it has not introduced itself")
        self.flush_soon()

    def data_received(self, data: bytes) -> None:
        for event in self.connection.receive(data, self._loop.time()):
            _EVENTS[type(event)](self, event)
        if self._limit is not None and self.connection.greeted and self.writable is None:
            self._limit.cancel()
            self._limit = None
        self.flush_soon()

    def eof_received(self) -> bool:
        """A peer that has closed its side hears no answer any more."""
        return False

    def connection_lost(self, error: Exception | None) -> None:
        self._lines.leave(self)
        if self._limit is not None:
            self._limit.cancel()
        for call in list(self._calls.values()):
            call.lost()
        self._resume_writers()

    def pause_writing(self) -> None:
        """The peer does not read as fast as it asks: nobody writes, and nothing more is read that would need an answer."""
        self.writable = self._loop.create_future()
        if not self._transport.is_closing():
            self._transport.pause_reading()
        self._limit = self._limit or self._loop.call_later(STALL_S, self._give_up, "it has not read its answers")

    def resume_writing(self) -> None:
        if not self._transport.is_closing():
            self._transport.resume_reading()
        if self._limit is not None:
            self._limit.cancel()
            self._limit = None
        self._resume_writers()

    def _resume_writers(self) -> None:
        if self.writable is not None:
            self.writable.set_result(None)
            self.writable = None

    def _give_up(self, why: str) -> None:
        log.warning("connection closed", extra={"why": why})
        self._transport.abort()

    # --- from the connection --------------------------------------------------------------------------------------------------

    def _opened(self, event: Opened) -> None:
        if self.load.crowded:
            self.connection.reset(event.stream, ErrorCode.REFUSED_STREAM)
        elif (handler := self._methods.get(event.request.path)) is None:
            self.connection.end(event.stream, Status.UNIMPLEMENTED, "there is no such method")
        else:
            self._calls[event.stream] = H2Call(self, event.stream, event.request, handler)

    def _data(self, event: Data) -> None:
        if (call := self._calls.get(event.stream)) is not None:
            call.take(event.data)

    def _ended(self, event: Ended) -> None:
        if (call := self._calls.get(event.stream)) is not None:
            call.take_end()

    def _reset(self, event: Reset) -> None:
        if (call := self._calls.get(event.stream)) is not None:
            call.lost()

    def _drained(self, event: Drained) -> None:
        if (call := self._calls.get(event.stream)) is not None:
            call.sent()

    def _terminated(self, event: Terminated) -> None:
        log.warning("connection ended for a fault of the peer's", extra={"code": event.code.name, "why": event.why})
        for call in list(self._calls.values()):
            call.lost()

    # --- for calls and the server ---------------------------------------------------------------------------------------------

    def gone(self, stream: int) -> None:
        self._calls.pop(stream, None)

    def flush_soon(self) -> None:
        if not self._flushing:
            self._flushing = True
            self._loop.call_soon(self.flush)

    def flush(self) -> None:
        self._flushing = False
        if out := self.connection.take():
            self._transport.write(out)
        if self.connection.over or self.connection.finished:
            self._transport.close()

    def drain(self) -> None:
        """Asks the peer to open no more streams."""
        self.connection.drain()
        if not self.connection.greeted:
            self._transport.close()
        self.flush_soon()

    def end(self) -> None:
        """Ends every call."""
        for call in list(self._calls.values()):
            call.end(Status.UNAVAILABLE, "the service is stopping")

    def close(self) -> None:
        """Sends what is to be sent, and closes."""
        self.flush()
        self._transport.close()


class Lines:
    """A server's connections. none: set while there are none."""

    def __init__(self) -> None:
        self.open: set[H2Protocol] = set()
        self.none = asyncio.Event()
        self.none.set()

    def join(self, line: H2Protocol) -> None:
        self.open.add(line)
        self.none.clear()

    def leave(self, line: H2Protocol) -> None:
        self.open.discard(line)
        if not self.open:
            self.none.set()


def _speaks_http2(transport: asyncio.BaseTransport) -> bool:
    """Under TLS, the peer must have asked for h2; in the clear, its first bytes tell."""
    channel: ssl.SSLObject | None = transport.get_extra_info("ssl_object")
    return channel is None or channel.selected_alpn_protocol() == "h2"


_EVENTS: Mapping[type[Event], Callable[[H2Protocol, Any], None]] = {
    Opened: H2Protocol._opened,
    Data: H2Protocol._data,
    Ended: H2Protocol._ended,
    Reset: H2Protocol._reset,
    Drained: H2Protocol._drained,
    Terminated: H2Protocol._terminated,
}
