"""What a connection's bytes say to those who serve its streams."""

from msgspec import Struct

from headrace.ext_proc.envoy.h2.errors import ErrorCode
from headrace.ext_proc.envoy.h2.headers import Request


class Opened(Struct, frozen=True, gc=False):
    """A call begins."""

    stream: int
    request: Request


class Data(Struct, frozen=True, gc=False):
    """Bytes of messages; never empty. Give them back with `Connection.credit` when there is room for more."""

    stream: int
    data: bytes


class Ended(Struct, frozen=True, gc=False):
    """The peer has said everything on this stream."""

    stream: int


class Reset(Struct, frozen=True, gc=False):
    """The stream is no more: the peer took it back, or broke a rule on it."""

    stream: int
    code: int


class Drained(Struct, frozen=True, gc=False):
    """Everything that waited for the peer's windows on this stream has gone."""

    stream: int


class Terminated(Struct, frozen=True, gc=False):
    """The connection is no more; what is in `take()` is the last to be sent. why: empty for an end that is no fault."""

    code: ErrorCode
    why: str


Event = Opened | Data | Ended | Reset | Drained | Terminated
