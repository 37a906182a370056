"""gRPC's length-prefixed messages: one byte that says whether it is compressed, four for the length, the message.

Source: https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md
"""

from struct import Struct as Layout

from headrace.ext_proc.envoy.transport import MAX_MESSAGE, Aborted, Status

PREFIX = 5
"""Bytes before a message."""

_LAYOUT = Layout(">BL")


class MessageReader:
    """Cuts what a stream's DATA frames carry into messages, wherever the frames end."""

    __slots__ = ("_buffer",)

    def __init__(self) -> None:
        self._buffer = bytearray()

    @property
    def held(self) -> int:
        """Bytes of the message that has not come to its end."""
        return len(self._buffer)

    def feed(self, data: bytes) -> list[bytes]:
        """The messages that are complete now. Raises Aborted for one that is compressed or too long, before it has come."""
        if not self._buffer and data[:1] == b"\0" and int.from_bytes(data[1:PREFIX], "big") == len(data) - PREFIX:
            return [data[PREFIX:]]  # one message, one frame: nearly always
        self._buffer += data
        return self._cut()

    def _cut(self) -> list[bytes]:
        messages, at, buffer = [], 0, self._buffer
        while len(buffer) - at >= PREFIX:
            size = _size(buffer, at)
            if len(buffer) - at - PREFIX < size:
                break
            at += PREFIX + size
            messages.append(bytes(buffer[at - size : at]))
        del buffer[:at]
        return messages


def _size(buffer: bytearray, at: int) -> int:
    compressed, size = _LAYOUT.unpack_from(buffer, at)
    if compressed:
        raise Aborted(Status.UNIMPLEMENTED, "compressed messages are not taken")
    if size > MAX_MESSAGE:
        raise Aborted(Status.RESOURCE_EXHAUSTED, f"a message of {size} bytes; {MAX_MESSAGE} are allowed")
    return int(size)


def framed(message: bytes) -> bytes:
    """`message` with its prefix."""
    return _LAYOUT.pack(0, len(message)) + message
