"""A connection to the server once it stands: bytes out, replies in, without a task or a stream between them and the loop.

redis-py makes the connection (addresses, TLS, passwords, Sentinels), and knows which error a reply means.
"""

import asyncio
from collections.abc import Callable
from typing import Any

from hiredis import HiredisError, Reader
from redis._parsers.base import BaseParser
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import AuthenticationError, RedisError, ResponseError

_NONE = object()


class Line(asyncio.Protocol):
    """Takes the transport of `connection`, which must wait for nothing.

    replied: told of every reply, an error among them as a ResponseError or AuthenticationError; says why the line must be given up,
    else nothing. resumed: called when more can be written. over: done, with the reason, when the line is of no use any more.
    """

    def __init__(self, connection: AbstractConnection, replied: Callable[[Any], str], resumed: Callable[[], None]) -> None:
        assert connection._writer is not None, "it is connected"
        self.over: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.is_writable = True
        self._replied = replied
        self._resumed = resumed
        self._reader = Reader(replyError=BaseParser.parse_error, notEnoughData=_NONE)
        self._transport = connection._writer.transport
        self._transport.set_protocol(self)

    def write(self, data: bytes) -> None:
        """Nothing where the transport has been closed, of which `over` tells in a moment: uvloop's raises then."""
        if data and not self._transport.is_closing():
            self._transport.write(data)

    def data_received(self, data: bytes) -> None:
        try:
            self._reader.feed(data)
            while not self.over.done() and (reply := self._reader.gets()) is not _NONE:
                self._take(reply)
        except HiredisError as error:
            self._end(f"its bytes are no reply: {error}")

    def _take(self, reply: Any) -> None:
        """An error that is none of a call's is one of the connection's: the server is loading, say."""
        if isinstance(reply, RedisError) and not isinstance(reply, ResponseError | AuthenticationError):
            self._end(str(reply))
        elif why := self._replied(reply):
            self._end(why)

    def pause_writing(self) -> None:
        self.is_writable = False

    def resume_writing(self) -> None:
        self.is_writable = True
        self._resumed()

    def connection_lost(self, error: Exception | None) -> None:
        self._end(str(error or "the server has closed it"))

    def _end(self, why: str) -> None:
        if not self.over.done():
            self.over.set_result(f"the connection to the store broke: {why}")
