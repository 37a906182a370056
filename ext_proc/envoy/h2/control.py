"""The receiving half of a connection: frames about the connection and its windows. Its methods `_on_…` are rows of the table."""

from headrace.ext_proc.envoy.h2 import frames
from headrace.ext_proc.envoy.h2.errors import ConnectionFault, ErrorCode, StreamFault
from headrace.ext_proc.envoy.h2.events import Drained, Reset
from headrace.ext_proc.envoy.h2.frames import MAX_STREAM_ID, Flag, Frame, Kind, Setting
from headrace.ext_proc.envoy.h2.receiving import Receiving
from headrace.ext_proc.envoy.h2.sender import LARGEST_SENT
from headrace.ext_proc.envoy.h2.settings import parsed
from headrace.ext_proc.envoy.h2.stream import Stream

DRAIN = b"headrace"
"""Payload of the ping behind a GOAWAY: its answer comes after every stream that the peer had opened by then."""
_STREAMS_PER_TOKEN = 100
"""A setting that changes every stream's window counts as many useless frames as there are hundreds of streams."""


class Control(Receiving):
    """Settings, pings, windows, resets, and the end."""

    _draining = False

    def _on_priority(self, frame: Frame, _: Stream | None) -> None:
        """Deprecated, and no business of ours."""
        self._waste()
        if len(frame.payload) != 5:
            raise StreamFault(ErrorCode.FRAME_SIZE_ERROR, "a priority is five bytes")

    def _on_reset(self, frame: Frame, stream: Stream | None) -> None:
        assert stream is not None
        code = _number(frame)
        if not stream.answered:
            self._waste()  # a stream that is reset before it was answered: CVE-2023-44487
        self._forget(stream.id)
        self._events.append(Reset(stream.id, code))

    def _on_late(self, frame: Frame, _: Stream | None) -> None:
        """A reset or a window, on its way when we closed the stream."""
        self._follow_up()
        _number(frame)

    def _on_settings(self, frame: Frame, _: Stream | None) -> None:
        if frame.flags & Flag.ACK:
            self._on_settings_ack(frame)
            return
        found = parsed(frame.payload)
        self.greeted = True
        self._waste()
        self._sender.max_frame = min(found.get(Setting.MAX_FRAME_SIZE, self._sender.max_frame), LARGEST_SENT)
        if (window := found.get(Setting.INITIAL_WINDOW_SIZE)) is not None:
            self._resize(window)
        self._sender.out.append(frames.SETTINGS_ACK)

    def _on_settings_ack(self, frame: Frame) -> None:
        if frame.payload:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "an acknowledgement with a payload")
        self._waste()
        self._headers.forget_table()

    def _resize(self, window: int) -> None:
        """Every stream's window moves with the setting, below zero where it must (section 6.9.2)."""
        more, self._sender.first_window = window - self._sender.first_window, window
        self._waste(len(self._streams) / _STREAMS_PER_TOKEN)
        for stream in list(self._streams.values()):
            try:
                self._widened(stream, more)
            except StreamFault as fault:
                raise ConnectionFault(fault.code, str(fault)) from None
        self._tell_drained()

    def _on_ping(self, frame: Frame, _: Stream | None) -> None:
        if len(frame.payload) != 8:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "a ping is eight bytes")
        self._waste()
        if not frame.flags & Flag.ACK:
            self._sender.out.append(frames.ping(frame.payload, ack=True))
        elif self._draining and frame.payload == DRAIN:
            self._refuse_later()

    def _on_goaway(self, frame: Frame, _: Stream | None) -> None:
        """The peer opens no more streams; those that are open go on."""
        if len(frame.payload) < 8:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "a GOAWAY is eight bytes at least")
        self._waste()
        self._takes_until = self._last

    def _on_window(self, frame: Frame, _: Stream | None) -> None:
        self._follow_up()
        for ended in self._sender.widen(_increment(frame, ConnectionFault)):
            self._streams.pop(ended.id, None)
        self._tell_drained()

    def _on_stream_window(self, frame: Frame, stream: Stream | None) -> None:
        assert stream is not None
        self._follow_up()
        self._widened(stream, _increment(frame, StreamFault))
        self._tell_drained()

    def _widened(self, stream: Stream, more: int) -> None:
        if self._sender.widen_stream(stream, more):
            self._streams.pop(stream.id, None)

    def _tell_drained(self) -> None:
        if self._sender.drained:
            self._events += [Drained(stream) for stream in self._sender.drained]
            self._sender.drained.clear()

    def _refuse_later(self) -> None:
        self._takes_until = self._last
        self._sender.out.append(frames.goaway(self._last, ErrorCode.NO_ERROR))


def _number(frame: Frame) -> int:
    """The one number of a payload. Raises ConnectionFault."""
    if len(frame.payload) != 4:
        raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, f"a {Kind(frame.kind).name} of {len(frame.payload)} bytes; it has four")
    return int.from_bytes(frame.payload, "big")


def _increment(frame: Frame, fault: type[ConnectionFault] | type[StreamFault]) -> int:
    """Raises `fault` for nothing."""
    if more := _number(frame) & MAX_STREAM_ID:
        return more
    raise fault(ErrorCode.PROTOCOL_ERROR, "a window made wider by nothing")
