"""What a peer may cost: everything it can make grow, and how often it may ask for what serves nobody."""

from asyncio import Task

from headrace.ext_proc.envoy.h2.errors import ConnectionFault, ErrorCode

KIB = 1024
MIB = 1024 * 1024

MAX_STREAMS = 10_000
"""Open at once on a connection; Envoy opens another connection for more. One costs some kilobytes."""
MAX_CALLS = 100_000
"""Under way at once in a worker, as many as the gateway's circuit breakers let through. A call whose stream was reset counts until
it has ended: resetting streams gains nobody more than this."""
MAX_CONNECTIONS = 20_000
"""Each of Envoy's threads opens one or two; APISIX opens one for each request under way. One that idles costs ten kilobytes."""
MAX_HANDSHAKES = 2_000
"""TLS handshakes under way at once in a worker: of peers whose certificate nobody has seen. One costs a hundred kilobytes."""
MAX_HELD = 512 * MIB
"""Bytes of a worker's messages that are half received, unread, or wait for the peer's window: two of the largest messages."""

STREAM_WINDOW = MIB
"""Bytes that a stream may send before it is told to go on: most prompts come in one go."""
CONNECTION_WINDOW = 64 * MIB
"""Never held back: what streams may hold is bounded by their own windows and MAX_HELD."""

HEADER_LIST = 16 * 1024
"""Bytes of a request's headers, as HTTP/2 counts them (32 more for each); grpcio takes as many."""
HEADER_BLOCK = 16 * 1024
"""Bytes of the same on the wire. Huffman codes make text shorter, never longer than this in honest hands."""
CONTINUATIONS = 16
"""Frames of one header block: an endless block of empty frames is an attack (CVE-2024-27316)."""

HANDSHAKE_S = 10.0
"""For the TLS handshake, and then for the client's preface; then the connection is closed."""
STALL_S = 60.0
"""A peer that has not read anything for so long while there was something to read is dead."""

BURST, PER_SECOND = 10_000, 1_000
"""Frames that serve nobody: as many at once, and so many more with each second. All of a connection's streams may be reset at once
by a proxy that loses patience; floods (CVE-2019-9512, 9515, 9518, 2023-44487) are a hundred times quicker."""

FRAMES_OF_STREAM, FRAMES_OF_MESSAGE = 4, 2
"""Resets and windows that come of serving a peer and cost it no patience: for each stream, and for each message of ours and each of
its further kibibytes. A peer gives windows back for the connection and for the stream, at most once a DATA frame."""
MOST_EARNED = FRAMES_OF_STREAM * MAX_STREAMS
"""Of them at once: every stream of a connection may end while its frames are on their way."""


class Patience:
    """A bucket of what a connection's peer may still ask for in vain. What it was served earns it some frames beside that."""

    def __init__(self) -> None:
        self._left: float = BURST
        self._filled = 0.0
        self._earned = 0

    def earn(self, frames: int) -> None:
        self._earned = min(self._earned + frames, MOST_EARNED)

    def spend_earned(self, now: float) -> None:
        """A frame that may come of what was served. Raises as `spend`."""
        if self._earned:
            self._earned -= 1
        else:
            self.spend(now)

    def spend(self, now: float, amount: float = 1) -> None:
        """now: seconds, monotonic. Raises ConnectionFault when there was too much."""
        self._left = min(BURST, self._left + (now - self._filled) * PER_SECOND) - amount
        self._filled = now
        if self._left < 0:
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, "too many frames that serve nobody")


class Load:
    """What all connections of a worker carry together. tasks: of the calls under way. held: bytes of their messages that wait."""

    def __init__(self) -> None:
        self.tasks: set[Task[None]] = set()
        self.held = 0

    @property
    def crowded(self) -> bool:
        return len(self.tasks) >= MAX_CALLS

    @property
    def full(self) -> bool:
        return self.held > MAX_HELD
