"""The receiving half of a connection: headers and data. Its methods `_on_…` are rows of the table in `connection`."""

from headrace.ext_proc.envoy.h2 import answers, frames
from headrace.ext_proc.envoy.h2.blocks import BlockReader
from headrace.ext_proc.envoy.h2.errors import ConnectionFault, ErrorCode, StreamFault
from headrace.ext_proc.envoy.h2.events import Data, Ended, Event, Opened, Reset, Terminated
from headrace.ext_proc.envoy.h2.frames import MAX_STREAM_ID, Flag, Frame, FrameReader, unpadded
from headrace.ext_proc.envoy.h2.headers import HeaderDecoder, Request
from headrace.ext_proc.envoy.h2.limits import CONNECTION_WINDOW, FRAMES_OF_STREAM, MAX_STREAMS, STREAM_WINDOW, Patience
from headrace.ext_proc.envoy.h2.sender import Sender
from headrace.ext_proc.envoy.h2.stream import Stream, Where


class Receiving:
    """over: the connection is no more, once what is to be sent has been. greeted: the peer has shown that it speaks HTTP/2."""

    def __init__(self) -> None:
        self.over = False
        self.greeted = False
        self._sender = Sender()
        self._streams: dict[int, Stream] = {}
        self._last = 0
        """The highest stream that the peer has opened."""
        self._takes_until = MAX_STREAM_ID
        self._owed = 0
        """Bytes that have come since the connection's window was given back."""
        self._now = 0.0
        self._preface = b""
        self._frames = FrameReader()
        self._blocks = BlockReader()
        self._headers = HeaderDecoder()
        self._patience = Patience()
        self._events: list[Event] = []

    def _waste(self, amount: float = 1) -> None:
        self._patience.spend(self._now, amount)

    def _follow_up(self) -> None:
        """A reset or a window: wasted only where there are more than what was served explains."""
        self._patience.spend_earned(self._now)

    def _fail(self, fault: ConnectionFault) -> None:
        self.over = True
        self._streams.clear()
        self._sender.out.append(frames.goaway(self._last, fault.code, str(fault)))
        self._events.append(Terminated(fault.code, str(fault)))

    def _abandon(self, stream_id: int, code: ErrorCode) -> None:
        """A fault of the peer's on a stream."""
        self._sender.reset(stream_id, code)
        if self._forget(stream_id):
            self._events.append(Reset(stream_id, code))

    def _forget(self, stream_id: int) -> bool:
        if (stream := self._streams.pop(stream_id, None)) is None:
            return False
        self._sender.forget(stream)
        return True

    # --- rows of the table: headers -------------------------------------------------------------------------------------------

    def _on_headers(self, frame: Frame, _: Stream | None) -> None:
        block = self._blocks.begin(frame)
        if block is not None:
            self._on_block(block, frame.stream, frame.flags)

    def _on_continuation(self, frame: Frame, _: Stream | None) -> None:
        flags, block = self._blocks.go_on(frame)
        if block is not None:
            self._on_block(block, frame.stream, flags)

    def _on_block(self, block: bytes, stream_id: int, flags: int) -> None:
        """A whole block. It is decoded whatever becomes of it: later ones may refer to it."""
        request = self._headers.decode(block)
        if (stream := self._streams.get(stream_id)) is not None:
            self._on_trailers(stream, flags)
        elif stream_id % 2 == 0:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a stream of a client's with an even number")
        elif stream_id > self._last:
            self._open(stream_id, request, flags)
        else:
            self._waste()  # on its way when we closed the stream

    def _on_trailers(self, stream: Stream, flags: int) -> None:
        if stream.where is Where.ENDED:
            raise StreamFault(ErrorCode.STREAM_CLOSED, "headers after the end")
        if not flags & Flag.END_STREAM:
            raise StreamFault(ErrorCode.PROTOCOL_ERROR, "trailers that are not the end")
        self._end(stream)

    def _open(self, stream_id: int, request: Request, flags: int) -> None:
        self._last = stream_id
        if request.malformed:
            raise StreamFault(ErrorCode.PROTOCOL_ERROR, request.malformed)
        if len(self._streams) >= MAX_STREAMS or stream_id > self._takes_until:
            raise StreamFault(ErrorCode.REFUSED_STREAM, "too many streams, or too late")
        stream = Stream(stream_id, self._sender.first_window, STREAM_WINDOW)
        if flags & Flag.END_STREAM:
            stream.where = Where.ENDED
        if request.refused:
            self._waste()
            self._sender.refuse(stream, answers.refusal(request.refused))
            return
        self._streams[stream_id] = stream
        self._patience.earn(FRAMES_OF_STREAM)
        self._events.append(Opened(stream_id, request))
        if stream.where is Where.ENDED:
            self._end(stream)

    def _end(self, stream: Stream) -> None:
        stream.where = Where.ENDED
        self._events.append(Ended(stream.id))

    # --- rows of the table: data ----------------------------------------------------------------------------------------------

    def _on_data(self, frame: Frame, stream: Stream | None) -> None:
        assert stream is not None
        size = len(frame.payload)
        self._arrived(size)
        stream.allowed -= size
        if stream.allowed < 0:
            raise StreamFault(ErrorCode.FLOW_CONTROL_ERROR, "more data than the window allows")
        data = unpadded(frame) if frame.flags & Flag.PADDED else frame.payload
        if len(data) != size:
            self.credit(stream.id, size - len(data))
        if data:
            self._events.append(Data(stream.id, data))
        elif not frame.flags & Flag.END_STREAM:
            self._waste()
        if frame.flags & Flag.END_STREAM:
            self._end(stream)

    def _on_data_after_end(self, frame: Frame, _: Stream | None) -> None:
        self._arrived(len(frame.payload))
        raise StreamFault(ErrorCode.STREAM_CLOSED, "data after the end")

    def _on_late_data(self, frame: Frame, _: Stream | None) -> None:
        """On its way when we closed the stream."""
        self._arrived(len(frame.payload))
        self._waste()

    def _arrived(self, size: int) -> None:
        """The connection's window is given back at once, a quarter at a time; see CONNECTION_WINDOW."""
        self._owed += size
        if self._owed > CONNECTION_WINDOW // 4:
            self._sender.out.append(frames.window_update(0, self._owed))
            self._owed = 0

    def credit(self, stream_id: int, size: int) -> None:
        """The peer may send so many bytes more on a stream; it is told half a window at a time."""
        stream = self._streams.get(stream_id)
        if stream is None or stream.where is Where.ENDED:
            return
        stream.owed += size
        if stream.owed >= STREAM_WINDOW // 2:
            self._sender.out.append(frames.window_update(stream_id, stream.owed))
            stream.allowed += stream.owed
            stream.owed = 0
