"""What one connection knows of one stream."""

from enum import IntEnum


class Where(IntEnum):
    """Where a stream stands when a frame comes for it; a column of the table in `connection`.

    CONNECTION: stream 0. IDLE: not opened yet. OPEN. ENDED: the peer has ended its side. CLOSED: by either side, and forgotten.
    """

    CONNECTION = 0
    IDLE = 1
    OPEN = 2
    ENDED = 3
    CLOSED = 4


class Stream:
    """A stream that is open or ended.

    allowed: bytes that the peer may still send. owed: of those it has sent, what will be allowed again. window: bytes that we may
    send; negative where the peer took some back. unsent: bytes that wait for it. trailers: the block that follows them.
    """

    __slots__ = ("allowed", "answered", "id", "owed", "trailers", "unsent", "where", "window")

    def __init__(self, id: int, window: int, allowed: int) -> None:
        self.id = id
        self.where = Where.OPEN
        self.window = window
        self.allowed = allowed
        self.owed = 0
        self.answered = False
        self.unsent = bytearray()
        self.trailers: bytes | None = None
