"""The other end of a connection in tests: frames written by hand, and what the server says in answer."""

from collections.abc import Sequence

from hpack import Decoder, Encoder

from headrace.ext_proc.envoy.h2 import frames
from headrace.ext_proc.envoy.h2.connection import Connection
from headrace.ext_proc.envoy.h2.errors import ErrorCode
from headrace.ext_proc.envoy.h2.events import Event
from headrace.ext_proc.envoy.h2.frames import Flag, Frame, FrameReader, Kind, Setting
from headrace.ext_proc.envoy.transport import Status

REQUEST = (
    (":method", "POST"),
    (":scheme", "http"),
    (":path", "/a.B/C"),
    (":authority", "headrace"),
    ("te", "trailers"),
    ("content-type", "application/grpc"),
)


def block(*pairs: tuple[str, str]) -> bytes:
    """A header block that stands alone: nothing goes to the dynamic table."""
    return Encoder().encode([(name, value, True) for name, value in pairs], huffman=False)


def headers(stream: int, *more: tuple[str, str], flags: int = Flag.END_HEADERS) -> bytes:
    return frames.frame(Kind.HEADERS, flags, stream, block(*REQUEST, *more))


def data(stream: int, payload: bytes, *, end: bool = False) -> bytes:
    return frames.frame(Kind.DATA, Flag.END_STREAM if end else 0, stream, payload)


def code_of(frame: Frame) -> ErrorCode:
    """Of a RST_STREAM or GOAWAY."""
    return ErrorCode(int.from_bytes(frame.payload[-4:] if frame.kind == Kind.RST_STREAM else frame.payload[4:8], "big"))


class Peer:
    """A client that says what a test has it say. now: the clock that the server is told. heard: the server's frames, in order."""

    def __init__(self, settings: dict[Setting, int] | None = None, *, greets: bool = True) -> None:
        self.connection = Connection()
        self.now = 0.0
        self.heard: list[Frame] = []
        self._reader = FrameReader()
        self._decoder = Decoder()
        if greets:
            self.say(frames.PREFACE + frames.settings(settings or {}))
            self.heard.clear()

    def say(self, *said: bytes) -> Sequence[Event]:
        """The server's events."""
        events = self.connection.receive(b"".join(said), self.now)
        self.listen()
        return events

    def listen(self) -> list[Frame]:
        """What the server has said now; it is kept in `heard`, too."""
        found = list(self._reader.feed(self.connection.take()))
        self.heard += found
        return found

    def kinds(self) -> list[Kind]:
        return [Kind(frame.kind) for frame in self.heard]

    def got(self, stream: int) -> bytes:
        """The payloads of a stream's DATA frames."""
        return b"".join(frame.payload for frame in self.heard if frame.kind == Kind.DATA and frame.stream == stream)

    def read(self, frame: Frame) -> dict[str, str]:
        """The headers of a HEADERS frame; each once, and in order."""
        return {str(name): str(value) for name, value in self._decoder.decode(frame.payload)}

    def status(self) -> Status:
        """Of the trailers that came last."""
        found = [self.read(frame) for frame in self.heard if frame.kind == Kind.HEADERS]
        return Status(int(found[-1]["grpc-status"]))

    def ended(self) -> ErrorCode | None:
        """The GOAWAY that ended the connection."""
        return code_of(self.heard[-1]) if self.connection.over else None
