"""One connection to a Redis or Valkey server that carries everybody's calls.

Calls that are due in the same tick of the event loop go out in one write, without waiting for the replies to earlier ones;
replies come back in the order of the calls. A call costs the worker a fifth of the CPU time that a client with one connection
per call in flight needs, and a lease's release cannot overtake its reservation.
"""

import asyncio
import math
from asyncio import Future, Task
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from redis.asyncio.connection import AbstractConnection
from redis.exceptions import AuthenticationError, ReadOnlyError, RedisError, ResponseError

from headrace.ext_proc.core.ports import REFUSED, NeverSent, StoreUnavailable
from headrace.ext_proc.stores.line import Line

WAITING_MAX = 10_000
"""Calls that may wait at once, written or not: half a second of the server's time. More are refused."""
COOL_DOWN_S = 0.1
"""After a failed connect, and after a silence, calls are refused at once for so long: a server that is down or hangs costs one
attempt, not one a call, and a caller who makes two calls waits for one of them."""

Reply = Any


class ConnectionLost(StoreUnavailable):
    """The connection broke while the call was under way; the call may be repeated on a new one."""


class Link:
    """Connects when it is first called, and again after the connection broke.

    connection makes an unconnected connection without time-outs of its own; timeout_s bounds connecting and, separately, each
    reply (which may take a quarter longer to be given up).
    """

    def __init__(self, connection: Callable[[], AbstractConnection], *, timeout_s: float) -> None:
        self._make = connection
        self._timeout_s = timeout_s
        self._line: Line | None = None
        self._is_due = False
        self._unsent: list[tuple[bytes, Future[Reply]]] = []
        self._sent: deque[tuple[float, Future[Reply]]] = deque()
        self._life: Task[None] | None = None
        self._refusal = ""
        self._refused_until = -math.inf

    def call(self, command: bytes) -> Future[Reply]:
        """The reply to one packed command; an error reply is raised by the future as ResponseError.

        Raises StoreUnavailable, at once or by the future: ConnectionLost when it may be repeated, NeverSent when it stayed here.
        """
        loop = asyncio.get_running_loop()
        if loop.time() < self._refused_until:
            raise NeverSent(self._refusal)
        if len(self._unsent) + len(self._sent) >= WAITING_MAX:
            raise NeverSent(f"{WAITING_MAX} calls to the store are waiting already")
        future: Future[Reply] = loop.create_future()
        self._unsent.append((command, future))
        if self._life is None:
            self._life = loop.create_task(self._live())
        elif not self._is_due:
            self._is_due = True
            loop.call_soon(self._write)
        return future

    async def close(self) -> None:
        """Wait for the replies to what was called, at most timeout_s; then refuse every call and disconnect."""
        if waiting := [future for _, future in (*self._unsent, *self._sent)]:
            await asyncio.wait(waiting, timeout=self._timeout_s)
        self._refuse("the store is closed", until=math.inf)
        if self._life is not None:
            self._life.cancel()
            await asyncio.wait([self._life])

    async def _live(self) -> None:
        """One connection, from connecting until it breaks. What was written then fails, the rest goes to the next one."""
        connection = self._make()
        end = StoreUnavailable("the store is closed")
        try:
            if await self._connect(connection):
                end = await self._carry(connection)
        finally:
            sent, self._sent = self._sent, deque()
            _fail((future for _, future in sent), end)
            await connection.disconnect(nowait=True)
            self._life = asyncio.get_running_loop().create_task(self._live()) if self._unsent else None

    async def _connect(self, connection: AbstractConnection) -> bool:
        try:
            async with asyncio.timeout(self._timeout_s):
                await connection.connect()  # type: ignore[no-untyped-call]
        except (RedisError, OSError, ValueError) as error:  # a TimeoutError is an OSError; ValueError: of TLS's options
            until = asyncio.get_running_loop().time() + COOL_DOWN_S
            answered = any(isinstance(one, ResponseError | AuthenticationError) for one in (error, error.__cause__))
            how = REFUSED if answered else "cannot connect to the store: "
            self._refuse(f"{how}{str(error) or 'timed out'}", until=until)
            return False
        return True

    def _refuse(self, why: str, *, until: float) -> None:
        self._refusal, self._refused_until = why, until
        unsent, self._unsent = self._unsent, []
        _fail((future for _, future in unsent), NeverSent(why))

    async def _carry(self, connection: AbstractConnection) -> StoreUnavailable:
        """Write calls and read replies; returns why the connection must be given up."""
        self._line = line = Line(connection, self._replied, self._write)
        try:
            self._write()
            while not line.over.done():
                await asyncio.wait([line.over], timeout=self._timeout_s / 4)
                if self._sent and self._sent[0][0] <= asyncio.get_running_loop().time():
                    return self._silent()
            return ConnectionLost(line.over.result())
        finally:
            self._line = None

    def _silent(self) -> StoreUnavailable:
        """The server may hold the connection and answer nothing. What has not been written is refused, too."""
        why = f"the store did not answer within {self._timeout_s} s"
        self._refuse(why, until=asyncio.get_running_loop().time() + COOL_DOWN_S)
        return StoreUnavailable(why)

    def _write(self) -> None:
        """What has gathered, but for calls whose callers gave up; those written wait for their replies now."""
        self._is_due = False
        if self._line is None or not self._line.is_writable:
            return
        due = [entry for entry in self._unsent if not entry[1].done()]
        self._unsent = []
        deadline = asyncio.get_running_loop().time() + self._timeout_s
        self._sent.extend([(deadline, future) for _, future in due])
        self._line.write(b"".join([command for command, _ in due]))

    def _replied(self, reply: Reply) -> str:
        """The next reply has come. Why the connection must be given up for it, if it must."""
        if not self._sent:
            return "it answers what was not asked"
        _resolve(self._sent.popleft()[1], reply)
        return "the server has become a replica" if isinstance(reply, ReadOnlyError) else ""


def _resolve(future: Future[Reply], reply: Reply) -> None:
    if future.done():
        return
    if isinstance(reply, ResponseError):
        future.set_exception(reply)
    elif isinstance(reply, AuthenticationError):
        future.set_exception(StoreUnavailable(f"{REFUSED}{reply}"))
    else:
        future.set_result(reply)


def _fail(futures: Iterable[Future[Reply]], error: StoreUnavailable) -> None:
    """Each gets an error of its own: what is raised keeps the frames that it passed."""
    for future in futures:
        if not future.done():
            future.set_exception(type(error)(*error.args))
