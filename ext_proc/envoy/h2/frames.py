"""HTTP/2 frames (RFC 9113, sections 4 and 6): cut from bytes, and written."""

from collections.abc import Iterator
from enum import IntEnum
from struct import Struct as Layout
from typing import Final

from msgspec import Struct

from headrace.ext_proc.envoy.h2.errors import ConnectionFault, ErrorCode

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
MAX_FRAME = 16_384
"""Bytes of payload that we take; the protocol's own default. Envoy sends no larger frames even where it may."""
MAX_STREAM_ID = 2**31 - 1
HEADER = 9
"""Bytes before the payload."""

_LAYOUT = Layout(">BHBBL")
_NUMBER = Layout(">L")


class Kind(IntEnum):
    DATA = 0x0
    HEADERS = 0x1
    PRIORITY = 0x2
    RST_STREAM = 0x3
    SETTINGS = 0x4
    PUSH_PROMISE = 0x5
    PING = 0x6
    GOAWAY = 0x7
    WINDOW_UPDATE = 0x8
    CONTINUATION = 0x9


class Flag:
    """Plain integers: the operators of enum.IntFlag cost as much as the rest of a frame. END_STREAM and ACK have one bit."""

    END_STREAM: Final = 0x1
    ACK: Final = 0x1
    END_HEADERS: Final = 0x4
    PADDED: Final = 0x8
    PRIORITY: Final = 0x20


class Setting(IntEnum):
    HEADER_TABLE_SIZE = 0x1
    ENABLE_PUSH = 0x2
    MAX_CONCURRENT_STREAMS = 0x3
    INITIAL_WINDOW_SIZE = 0x4
    MAX_FRAME_SIZE = 0x5
    MAX_HEADER_LIST_SIZE = 0x6


class Frame(Struct, frozen=True, gc=False):
    """kind: may be none of Kind. stream: 0 for the connection."""

    kind: int
    flags: int
    stream: int
    payload: bytes


class FrameReader:
    """Cuts a byte stream into frames. Holds one unfinished frame at most."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[Frame]:
        """The frames that are complete now. Raises ConnectionFault for one that is too large, before it has come."""
        data = self._rest + data if self._rest else data
        at, end = 0, len(data)
        while end - at >= HEADER:
            high, low, kind, flags, stream = _LAYOUT.unpack_from(data, at)
            size = high << 16 | low
            if size > MAX_FRAME:
                raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, f"a frame of {size} bytes; {MAX_FRAME} are allowed")
            if end - at - HEADER < size:
                break
            at += HEADER + size
            yield Frame(kind, flags, stream & MAX_STREAM_ID, data[at - size : at])
        self._rest = data[at:]


def head(kind: int, flags: int, stream: int, size: int) -> bytes:
    """The 9 bytes before a payload of `size` bytes."""
    return _LAYOUT.pack(size >> 16, size & 0xFFFF, kind, flags, stream)


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return head(kind, flags, stream, len(payload)) + payload


def settings(values: dict[Setting, int]) -> bytes:
    """A SETTINGS frame."""
    return frame(Kind.SETTINGS, 0, 0, b"".join(number.to_bytes(2, "big") + _NUMBER.pack(value) for number, value in values.items()))


SETTINGS_ACK = frame(Kind.SETTINGS, Flag.ACK, 0)


def window_update(stream: int, more: int) -> bytes:
    return frame(Kind.WINDOW_UPDATE, 0, stream, _NUMBER.pack(more))


def rst_stream(stream: int, code: ErrorCode) -> bytes:
    return frame(Kind.RST_STREAM, 0, stream, _NUMBER.pack(code))


def goaway(last: int, code: ErrorCode, why: str = "") -> bytes:
    """last: the highest stream that is or will be served. why: for the peer's log."""
    return frame(Kind.GOAWAY, 0, 0, _NUMBER.pack(last) + _NUMBER.pack(code) + why.encode()[:256])


def ping(payload: bytes, *, ack: bool) -> bytes:
    """payload: 8 bytes."""
    return frame(Kind.PING, Flag.ACK if ack else 0, 0, payload)


def unpadded(found: Frame) -> bytes:
    """The payload without its padding. Raises ConnectionFault for more padding than there is payload (section 6.1)."""
    payload = found.payload
    if not found.flags & Flag.PADDED:
        return payload
    if not payload or payload[0] >= len(payload):
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a frame with more padding than payload")
    return payload[1 : len(payload) - payload[0]]
