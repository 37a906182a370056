"""The sending half of a connection: frames that are ready, and what waits for the peer's windows."""

from struct import Struct as Layout

from headrace.ext_proc.envoy.h2 import frames
from headrace.ext_proc.envoy.h2.answers import HEAD, NO_TABLE
from headrace.ext_proc.envoy.h2.errors import ConnectionFault, ErrorCode, StreamFault
from headrace.ext_proc.envoy.h2.frames import Flag, Kind
from headrace.ext_proc.envoy.h2.messages import PREFIX, framed
from headrace.ext_proc.envoy.h2.stream import Stream, Where

MAX_WINDOW = 2**31 - 1
DEFAULT_WINDOW = 65_535
LARGEST_SENT = 64 * 1024
"""Bytes of a DATA frame that we send, where the peer allows more: streams take turns between frames."""

_MESSAGE_HEAD = Layout(">BHBBLBL")
_END = Flag.END_HEADERS | Flag.END_STREAM
_DATA, _HEADERS = int(Kind.DATA), int(Kind.HEADERS)


class Sender:
    """out: frames for the transport, in order. size: bytes of messages in them. drained: streams that wait no more."""

    def __init__(self) -> None:
        self.out: list[bytes] = []
        self.size = 0
        self.drained: list[int] = []
        self.first_window = DEFAULT_WINDOW
        self.max_frame = frames.MAX_FRAME
        self._window = DEFAULT_WINDOW
        self._turns: dict[int, Stream] = {}
        """Streams that wait for the connection's window alone, in the order of their turns."""
        self._no_table_said = False

    def message(self, stream: Stream, message: bytes) -> None:
        """Sends a gRPC message, the head first where it is the first; what the windows do not let through waits."""
        if not stream.answered:
            stream.answered = True
            self._headers(stream.id, HEAD, Flag.END_HEADERS)
        size = len(message) + PREFIX
        if stream.unsent or size > stream.window or size > self._window or size > self.max_frame:
            stream.unsent += framed(message)
            self._pump(stream)
            return
        self._spend(stream, size)
        self.out.append(_MESSAGE_HEAD.pack(size >> 16, size & 0xFFFF, _DATA, 0, stream.id, 0, len(message)))
        self.out.append(message)

    def end(self, stream: Stream, trailers: bytes) -> bool:
        """Sends the trailers after everything that waits. Whether that is now."""
        stream.trailers = trailers
        return self._ended(stream)

    def refuse(self, stream: Stream, block: bytes) -> None:
        """A whole answer in one header block."""
        self._close(stream, block)

    def reset(self, stream_id: int, code: ErrorCode) -> None:
        self.out.append(frames.rst_stream(stream_id, code))

    def forget(self, stream: Stream) -> None:
        """The stream has been closed."""
        self._turns.pop(stream.id, None)

    def widen(self, more: int) -> list[Stream]:
        """The peer grants the connection so many bytes more; the streams that have come to their end by that."""
        self._window = _wider(self._window, more, ConnectionFault)
        return self._take_turns()

    def widen_stream(self, stream: Stream, more: int) -> bool:
        """The peer grants one stream more, or less. Whether it has come to its end by that."""
        stream.window = _wider(stream.window, more, StreamFault)
        self._pump(stream)
        return self._ended(stream)

    def _take_turns(self) -> list[Stream]:
        """A frame each, round and round, while the connection's window lasts."""
        ended = []
        while self._window > 0 and self._turns:
            stream = self._turns.pop(next(iter(self._turns)))
            self._send_some(stream)
            self._queue(stream)
            if self._ended(stream):
                ended.append(stream)
        return ended

    def _pump(self, stream: Stream) -> None:
        """Sends what one stream may send now. Others wait only while the connection's window is empty, and then nothing is sent."""
        while stream.unsent and stream.window > 0 and self._window > 0:
            self._send_some(stream)
        self._queue(stream)

    def _queue(self, stream: Stream) -> None:
        if stream.unsent and stream.window > 0:
            self._turns[stream.id] = stream
        else:
            self._turns.pop(stream.id, None)

    def _send_some(self, stream: Stream) -> None:
        """One DATA frame, of as much as the windows and the frame's limit let through."""
        size = min(len(stream.unsent), stream.window, self._window, self.max_frame)
        self._spend(stream, size)
        self.out.append(frames.frame(Kind.DATA, 0, stream.id, bytes(stream.unsent[:size])))
        del stream.unsent[:size]
        if not stream.unsent:
            self.drained.append(stream.id)

    def _spend(self, stream: Stream, size: int) -> None:
        stream.window -= size
        self._window -= size
        self.size += size

    def _ended(self, stream: Stream) -> bool:
        if stream.trailers is None or stream.unsent:
            return False
        # A status without a message before it carries the head itself.
        self._close(stream, stream.trailers if stream.answered else HEAD + stream.trailers)
        return True

    def _close(self, stream: Stream, block: bytes) -> None:
        self._headers(stream.id, block, _END)
        if stream.where is not Where.ENDED:
            # The answer is whole; whatever else the peer has to say about it is not needed (RFC 9113, section 8.1).
            self.reset(stream.id, ErrorCode.NO_ERROR)

    def _headers(self, stream_id: int, block: bytes, flags: int) -> None:
        if not self._no_table_said:
            self._no_table_said, block = True, NO_TABLE + block
        self.out.append(frames.head(_HEADERS, flags, stream_id, len(block)))
        self.out.append(block)


def _wider(window: int, more: int, fault: type[ConnectionFault] | type[StreamFault]) -> int:
    """Raises `fault` for a window that would grow too large (RFC 9113, section 6.9.1)."""
    if window + more > MAX_WINDOW:
        raise fault(ErrorCode.FLOW_CONTROL_ERROR, f"a window of {window + more} bytes; {MAX_WINDOW} are allowed")
    return window + more
