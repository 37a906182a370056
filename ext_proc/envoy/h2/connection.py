"""One HTTP/2 connection as a server sees it, without I/O: bytes in, events out; messages in, bytes out.

    connection = Connection()
    for event in connection.receive(data, now): ...       # Opened, Data, Ended, Reset, Drained, Terminated
    connection.message(stream, answer)
    connection.end(stream, Status.OK)
    transport.write(connection.take())

No input raises anything past `receive`. The methods that send do nothing for a stream that is no more.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NoReturn

from headrace.ext_proc.envoy.h2 import answers, frames
from headrace.ext_proc.envoy.h2.control import DRAIN, Control
from headrace.ext_proc.envoy.h2.errors import ConnectionFault, ErrorCode, StreamFault
from headrace.ext_proc.envoy.h2.events import Event
from headrace.ext_proc.envoy.h2.frames import MAX_STREAM_ID, PREFACE, Flag, Frame, Kind
from headrace.ext_proc.envoy.h2.limits import FRAMES_OF_MESSAGE, KIB
from headrace.ext_proc.envoy.h2.settings import GREETING
from headrace.ext_proc.envoy.h2.stream import Stream, Where
from headrace.ext_proc.envoy.transport import Status


class Connection(Control):
    """One peer's connection, from its first byte."""

    def __init__(self) -> None:
        super().__init__()
        self._sender.out.append(GREETING)

    def receive(self, data: bytes, now: float) -> Sequence[Event]:
        """What `data` means. now: seconds, monotonic."""
        self._events, self._now = [], now
        if self.over:
            return ()
        try:
            for frame in self._frames.feed(self._after_preface(data)):
                self._take(frame)
        except ConnectionFault as fault:
            self._fail(fault)
        return self._events

    def _after_preface(self, data: bytes) -> bytes:
        if len(self._preface) == len(PREFACE):
            return data
        missing = len(PREFACE) - len(self._preface)
        self._preface += data[:missing]
        if not PREFACE.startswith(self._preface):
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "this is no HTTP/2")
        return data[missing:]

    def _take(self, frame: Frame) -> None:
        if self._blocks.open_for or not self.greeted:
            self._check_order(frame)
        if frame.kind >= len(_TABLE):
            self._waste()  # of an extension, which must be passed over
            return
        stream = self._streams.get(frame.stream)
        where = stream.where if stream is not None else self._where(frame.stream)
        try:
            _TABLE[frame.kind][where](self, frame, stream)
        except StreamFault as fault:
            self._waste()
            self._abandon(frame.stream, fault.code)

    def _check_order(self, frame: Frame) -> None:
        """Raises ConnectionFault for another frame in the middle of a header block, or before the settings."""
        if self._blocks.open_for and (frame.kind != Kind.CONTINUATION or frame.stream != self._blocks.open_for):
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "another frame in the middle of a header block")
        if not self.greeted and (frame.kind != Kind.SETTINGS or frame.flags & Flag.ACK):
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "the settings must come first")

    def _where(self, stream: int) -> Where:
        """Of a stream that is not known."""
        if not stream:
            return Where.CONNECTION
        return Where.IDLE if stream > self._last or stream % 2 == 0 else Where.CLOSED

    @property
    def streams(self) -> int:
        """How many are open."""
        return len(self._streams)

    @property
    def finished(self) -> bool:
        """Every stream has ended, and no other will come: the connection may be closed."""
        return self._takes_until < MAX_STREAM_ID and not self._streams

    def take(self) -> bytes:
        """What is to be sent now."""
        out, self._sender.out, self._sender.size = self._sender.out, [], 0
        return b"".join(out)

    @property
    def size(self) -> int:
        """Bytes of messages in what is to be sent."""
        return self._sender.size

    def message(self, stream_id: int, message: bytes) -> None:
        """Sends one gRPC message."""
        if (stream := self._streams.get(stream_id)) is not None:
            self._patience.earn(FRAMES_OF_MESSAGE * (1 + len(message) // KIB))
            self._sender.message(stream, message)

    def unsent(self, stream_id: int) -> int:
        """Bytes of a stream that wait for the peer's windows."""
        stream = self._streams.get(stream_id)
        return len(stream.unsent) if stream is not None else 0

    def end(self, stream_id: int, status: Status, text: str = "") -> None:
        """Ends a call, after the messages that wait. The stream counts until they have gone."""
        stream = self._streams.get(stream_id)
        if stream is not None and self._sender.end(stream, answers.trailers(status, text)):
            del self._streams[stream_id]

    def reset(self, stream_id: int, code: ErrorCode) -> None:
        """Ends a stream at once, whatever waits."""
        if self._forget(stream_id):
            self._sender.reset(stream_id, code)

    def drain(self) -> None:
        """Asks the peer to open no more streams. Those on their way are taken, until the peer's answer shows there are none."""
        if not self._draining:
            self._draining = True
            self._sender.out += [frames.goaway(MAX_STREAM_ID, ErrorCode.NO_ERROR), frames.ping(DRAIN, ack=False)]


Row = Callable[[Connection, Frame, Stream | None], None]


def _fault(code: ErrorCode, why: str) -> Row:
    def row(_: Connection, frame: Frame, __: Stream | None) -> NoReturn:
        raise ConnectionFault(code, f"{Kind(frame.kind).name} {why}")

    return row


_NO_STREAM = _fault(ErrorCode.PROTOCOL_ERROR, "belongs to a stream")
_A_STREAM = _fault(ErrorCode.PROTOCOL_ERROR, "belongs to no stream")
_NOT_OPENED = _fault(ErrorCode.PROTOCOL_ERROR, "on a stream that was not opened")
_CLIENTS_NEVER = _fault(ErrorCode.PROTOCOL_ERROR, "from a client")

# What a frame means where its stream stands in CONNECTION (no stream), IDLE, OPEN, ENDED and CLOSED.
_ROWS: Mapping[Kind, Sequence[Row]] = {
    Kind.DATA: (_NO_STREAM, _NOT_OPENED, Connection._on_data, Connection._on_data_after_end, Connection._on_late_data),
    Kind.HEADERS: (_NO_STREAM, *[Connection._on_headers] * 4),
    Kind.PRIORITY: (_NO_STREAM, *[Connection._on_priority] * 4),
    Kind.RST_STREAM: (_NO_STREAM, _NOT_OPENED, Connection._on_reset, Connection._on_reset, Connection._on_late),
    Kind.SETTINGS: (Connection._on_settings, *[_A_STREAM] * 4),
    Kind.PUSH_PROMISE: (_CLIENTS_NEVER,) * 5,
    Kind.PING: (Connection._on_ping, *[_A_STREAM] * 4),
    Kind.GOAWAY: (Connection._on_goaway, *[_A_STREAM] * 4),
    Kind.WINDOW_UPDATE: (Connection._on_window, _NOT_OPENED, *[Connection._on_stream_window] * 2, Connection._on_late),
    Kind.CONTINUATION: (_NO_STREAM, *[Connection._on_continuation] * 4),
}
_TABLE: Sequence[Sequence[Row]] = [_ROWS[kind] for kind in Kind]
