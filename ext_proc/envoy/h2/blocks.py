"""Header blocks put together from HEADERS and CONTINUATION frames (RFC 9113, sections 4.3, 6.2 and 6.10)."""

from headrace.ext_proc.envoy.h2.errors import ConnectionFault, ErrorCode
from headrace.ext_proc.envoy.h2.frames import Flag, Frame, unpadded
from headrace.ext_proc.envoy.h2.limits import CONTINUATIONS, HEADER_BLOCK

PRIORITY = 5
"""Bytes before the block where the flag says so."""


class BlockReader:
    """Holds one unfinished block at most. open_for: its stream, else 0."""

    def __init__(self) -> None:
        self.open_for = 0
        self._flags = 0
        self._parts: list[bytes] = []

    def begin(self, frame: Frame) -> bytes | None:
        """The block, where this HEADERS frame holds all of it. Raises ConnectionFault."""
        part = _without_priority(frame)
        if frame.flags & Flag.END_HEADERS:
            return part
        self.open_for, self._flags, self._parts = frame.stream, frame.flags, [part]
        return None

    def go_on(self, frame: Frame) -> tuple[int, bytes | None]:
        """The flags of the HEADERS frame, and the block, where this CONTINUATION is its last. Raises ConnectionFault."""
        if not self.open_for:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a continuation of nothing")
        self._parts.append(frame.payload)
        if len(self._parts) > CONTINUATIONS or sum(map(len, self._parts)) > HEADER_BLOCK:
            why = f"a header block over {HEADER_BLOCK} bytes or {CONTINUATIONS} frames"
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, why)
        if not frame.flags & Flag.END_HEADERS:
            return self._flags, None
        self.open_for = 0
        return self._flags, b"".join(self._parts)


def _without_priority(frame: Frame) -> bytes:
    part = unpadded(frame) if frame.flags & Flag.PADDED else frame.payload
    if not frame.flags & Flag.PRIORITY:
        return part
    if len(part) < PRIORITY:
        raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "headers too short for their priority")
    return part[PRIORITY:]
