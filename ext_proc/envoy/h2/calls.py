"""One gRPC call on an HTTP/2 stream: its messages in, its messages out, and the task that serves it."""

import asyncio
import logging
from collections import deque
from collections.abc import Mapping
from typing import Protocol

from headrace.ext_proc.envoy.h2.connection import Connection
from headrace.ext_proc.envoy.h2.errors import ErrorCode
from headrace.ext_proc.envoy.h2.headers import Request
from headrace.ext_proc.envoy.h2.limits import Load
from headrace.ext_proc.envoy.h2.messages import MessageReader
from headrace.ext_proc.envoy.transport import Aborted, Handler, Status

log = logging.getLogger(__name__)

UNREAD = 256 * 1024
"""Bytes of messages that may wait for the handler before the peer is told no more to send."""
SMALL = 16 * 1024
"""Bytes in the inbox that are not counted: the next turn of the loop reads them."""
LARGE = 64 * 1024
"""Bytes of messages that are sent at once, without waiting for others: then the socket tells whether it takes more."""
STALL_S = 300.0
"""Seconds for the peer to read what waits; as long as Envoy lets a stream idle."""


class Line(Protocol):
    """What a call needs of its connection's protocol."""

    connection: Connection
    load: Load

    @property
    def writable(self) -> "asyncio.Future[None] | None":
        """Done when the socket takes more; None when it does."""

    def flush_soon(self) -> None:
        """Sends what is to be sent, together with whatever else this turn of the loop brings."""

    def flush(self) -> None:
        """Sends it now."""

    def gone(self, stream: int) -> None:
        """The call has ended and nothing of it is left to be sent."""


class H2Call:
    """A `Call` for its handler; the connection's protocol tells it of the peer."""

    def __init__(self, line: Line, stream: int, request: Request, handler: Handler) -> None:
        self._line = line
        self._stream = stream
        self._request = request
        self._messages = MessageReader()
        self._inbox: deque[bytes] = deque()
        self._unread = 0
        self._owed = 0
        self._held = 0
        self._ended = False
        self._over = False
        self._status: tuple[Status, str] | None = None
        self._waiter: asyncio.Future[None] | None = None
        loop = asyncio.get_running_loop()
        self._deadline = loop.call_later(request.timeout_s, self._late) if request.timeout_s is not None else None
        self._stall: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = loop.create_task(self._serve(handler))
        self._task.add_done_callback(self._served)
        line.load.tasks.add(self._task)

    # --- for the handler ------------------------------------------------------------------------------------------------------

    @property
    def metadata(self) -> Mapping[str, str]:
        return self._request.metadata

    async def read(self) -> bytes | None:
        while not self._inbox:
            if self._ended:
                return None
            await self._wait()
        message = self._inbox.popleft()
        self._unread -= len(message)
        if self._held:
            self._give_back()
        return message

    async def write(self, message: bytes) -> None:
        line = self._line
        line.connection.message(self._stream, message)
        if line.connection.size < LARGE:
            line.flush_soon()
        else:
            line.flush()
        while line.writable is not None:
            await asyncio.shield(line.writable)
        if line.connection.unsent(self._stream):
            await self._drained()

    async def _drained(self) -> None:
        self._hold()
        while self._line.connection.unsent(self._stream):
            await self._wait()

    async def _wait(self) -> None:
        """Until the peer has done something."""
        self._waiter = asyncio.get_running_loop().create_future()
        await self._waiter
        self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # --- its life -------------------------------------------------------------------------------------------------------------

    async def _serve(self, handler: Handler) -> None:
        await handler(self)
        self._finish(Status.OK)

    def _served(self, task: "asyncio.Task[None]") -> None:
        """However the task ended; what went well has been told already."""
        self._line.load.tasks.discard(task)
        self._task = None  # or what it ended with, whose traceback has this call in it, would keep both until the next collection
        if task.cancelled():
            self._finish(*(self._status or (Status.CANCELLED, "")))
        elif isinstance(error := task.exception(), Aborted):
            self._finish(error.status, str(error))
        elif error is not None:
            log.error("handler failed", extra={"method": self._request.path, "error": type(error).__name__}, exc_info=error)
            self._finish(Status.UNKNOWN, f"unexpected {type(error).__name__}")

    def _finish(self, status: Status, text: str = "") -> None:
        if self._over:
            return
        self._over = True
        self._inbox.clear()
        if self._deadline is not None:
            self._deadline.cancel()
        self._line.connection.end(self._stream, status, text)
        self._line.flush_soon()
        self._settle()

    def _settle(self) -> None:
        """What the call held is let go, once nothing waits to be sent."""
        self._unread = 0
        self._hold()
        if not self._line.connection.unsent(self._stream):
            self._forget()

    def _forget(self) -> None:
        self._line.load.held -= self._held
        self._held = 0
        if self._stall is not None:
            self._stall.cancel()
        self._line.gone(self._stream)

    def _late(self) -> None:
        self.end(Status.DEADLINE_EXCEEDED, "the deadline is over")

    def _stalled(self) -> None:
        log.warning("a stream was not read", extra={"method": self._request.path, "seconds": STALL_S})
        self._line.connection.reset(self._stream, ErrorCode.CANCEL)
        self._line.flush_soon()
        self.lost()

    # --- what the peer does ---------------------------------------------------------------------------------------------------

    def take(self, data: bytes) -> None:
        """Bytes of messages have come."""
        if self._over:
            return
        try:
            messages = self._messages.feed(data)
        except Aborted as aborted:
            self.end(aborted.status, str(aborted))
            return
        if messages:
            self._inbox.extend(messages)
            self._unread += sum(map(len, messages))
            self._wake()
        if self._unread <= UNREAD:
            self._line.connection.credit(self._stream, len(data))
        else:
            self._owed += len(data)
        if self._unread > SMALL or self._messages.held or self._held:
            self._hold()

    def take_end(self) -> None:
        """The peer has said everything."""
        self._ended = True
        if self._messages.held and not self._over:
            self.end(Status.INTERNAL, "the call ended in the middle of a message")
        self._wake()

    def sent(self) -> None:
        """Everything that waited for the peer's windows has gone."""
        if self._over:
            self._forget()
        else:
            self._hold()
            self._wake()

    def lost(self) -> None:
        """There is no stream any more: the peer took it back, or its connection is gone."""
        self._over = True
        self._inbox.clear()
        if self._deadline is not None:
            self._deadline.cancel()
        self._forget()
        if self._task is not None:
            self._task.cancel()

    def end(self, status: Status, text: str) -> None:
        """Cancels the handler; the peer hears why."""
        self._status = self._status or (status, text)
        if self._task is None or not self._task.cancel():
            self._finish(status, text)

    # --- what it holds --------------------------------------------------------------------------------------------------------

    def _hold(self) -> None:
        """Counts what is held now: half a message, what is unread, what is unsent. Ends the call where a worker holds too much."""
        connection, load = self._line.connection, self._line.load
        unsent = connection.unsent(self._stream)
        now = self._messages.held + self._unread + unsent
        load.held += now - self._held
        grew, self._held = now > self._held, now
        self._watch(unsent)
        if grew and load.full:
            connection.reset(self._stream, ErrorCode.ENHANCE_YOUR_CALM)
            self._line.flush_soon()
            self.lost()

    def _watch(self, unsent: int) -> None:
        """A peer that does not read is given STALL_S."""
        if unsent and self._stall is None:
            self._stall = asyncio.get_running_loop().call_later(STALL_S, self._stalled)
        elif not unsent and self._stall is not None:
            self._stall.cancel()
            self._stall = None

    def _give_back(self) -> None:
        """The handler has read something: there is room again."""
        self._hold()
        if self._owed and self._unread <= UNREAD:
            self._line.connection.credit(self._stream, self._owed)
            self._line.flush_soon()
            self._owed = 0
