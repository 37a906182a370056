"""A gRPC call between the gateway and a worker: messages both ways, a status at the end, and a line that may break."""

import asyncio
from collections import deque
from collections.abc import Mapping

from headrace.ext_proc.envoy.transport import Aborted, Status


class SimCall:
    """`Call` towards the handler; the gateway uses the rest. status: None while it goes on."""

    def __init__(self, metadata: Mapping[str, str]) -> None:
        self.metadata = metadata
        self.status: Status | None = None
        self.task: asyncio.Task[None] | None = None
        self._to_worker: deque[bytes] = deque()
        self._to_gateway: deque[bytes] = deque()
        self._reads: asyncio.Future[None] | None = None
        self._waits: asyncio.Future[None] | None = None
        self._ended = False
        """The gateway says no more."""

    # --- the handler's side ------------------------------------------------------------------------------------------------

    async def read(self) -> bytes | None:
        """The next message; None at the gateway's end."""
        while not self._to_worker:
            if self._ended:
                return None
            self._reads = asyncio.get_running_loop().create_future()
            await self._reads
        return self._to_worker.popleft()

    async def write(self, message: bytes) -> None:
        """What nobody waits for any more goes nowhere."""
        if self.status is None:
            self._to_gateway.append(message)
            _wake(self._waits)

    # --- the gateway's side ------------------------------------------------------------------------------------------------

    def send(self, *messages: bytes) -> None:
        self._to_worker.extend(messages)
        _wake(self._reads)

    def end(self) -> None:
        """No more messages from here."""
        self._ended = True
        _wake(self._reads)

    def reset(self, *, politely: bool) -> None:
        """Nobody here waits for anything any more. politely: the handler sees the end of its messages, else its cancellation."""
        if self.status is None:
            self.status = Status.CANCELLED
            self._to_gateway.clear()
            if politely:
                self.end()
            elif self.task is not None:
                self.task.cancel()

    def broke(self, *, in_flight: bool) -> None:
        """The worker is gone. in_flight: what it wrote arrives all the same."""
        if self.status is None:
            self.status = Status.UNAVAILABLE
            if not in_flight:
                self._to_gateway.clear()
            _wake(self._waits)

    def ended(self, task: "asyncio.Task[None]") -> None:
        """The handler has returned, or raised."""
        if self.status is None:
            self.status = _status(task)
            _wake(self._waits)
        elif not task.cancelled():
            task.exception()

    @property
    def unread(self) -> int:
        """Messages that the worker has sent and the gateway has not taken."""
        return len(self._to_gateway)

    async def next(self, within: float) -> bytes | None:
        """The next message; None when the call has its status. Raises TimeoutError after so many seconds."""
        if not self._to_gateway and self.status is None:
            await self._news(within)
        return self._to_gateway.popleft() if self._to_gateway else None

    async def _news(self, within: float) -> None:
        """Until there is a message or a status, which is all that wakes. Raises TimeoutError."""
        loop = asyncio.get_running_loop()
        self._waits = loop.create_future()
        timer = loop.call_later(within, _late, self._waits)
        try:
            await self._waits
        finally:
            timer.cancel()


def _status(task: "asyncio.Task[None]") -> Status:
    if task.cancelled():
        return Status.CANCELLED
    error = task.exception()
    if isinstance(error, Aborted):
        return error.status
    return Status.OK if error is None else Status.UNKNOWN


def _late(waiting: "asyncio.Future[None]") -> None:
    if not waiting.done():
        waiting.set_exception(TimeoutError())


def _wake(waiting: "asyncio.Future[None] | None") -> None:
    if waiting is not None and not waiting.done():
        waiting.set_result(None)
