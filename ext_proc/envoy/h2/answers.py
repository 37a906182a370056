"""The header blocks of answers. They use HPACK's static table alone, so the same bytes are right on every connection."""

from collections.abc import Mapping

from headrace.ext_proc.envoy.transport import Status

NO_TABLE = b"\x20"
"""Sets our encoder's dynamic table to nothing; opens the first block of a connection, so that no later one needs to say it."""

TEXT = 1_024
"""Bytes of a status's text on the wire; the rest is in our log."""

_PRINTABLE = frozenset(range(0x20, 0x7F)) - {ord("%")}
_STATUS = 8
_CONTENT_TYPE = 31
"""Places in the static table (RFC 7541, appendix A) of `:status: 200` and of the name `content-type`."""


def _number(value: int, prefix: int, first: int = 0) -> bytes:
    """An integer with a prefix of so many bits, under the marks of `first` (RFC 7541, section 5.1)."""
    most = (1 << prefix) - 1
    if value < most:
        return bytes((first | value,))
    out, value = [first | most], value - most
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*out, value))


def _text(value: bytes) -> bytes:
    return _number(len(value), 7) + value


def _literal(name: bytes, value: bytes) -> bytes:
    """A header that nobody is to remember."""
    return b"\0" + _text(name) + _text(value)


def _named(place: int, value: bytes) -> bytes:
    """The same with a name of the static table."""
    return _number(place, 4) + _text(value)


HEAD = _number(_STATUS, 7, 0x80) + _named(_CONTENT_TYPE, b"application/grpc")
"""Before the first message."""

_PLAIN: Mapping[Status, bytes] = {status: _literal(b"grpc-status", b"%d" % status) for status in Status}


def trailers(status: Status, text: str = "") -> bytes:
    """After the last message."""
    return _PLAIN[status] + _literal(b"grpc-message", percent_encoded(text)) if text else _PLAIN[status]


def refusal(http_status: int) -> bytes:
    """A whole answer to what is no gRPC call."""
    return _named(_STATUS, b"%d" % http_status)


def percent_encoded(text: str) -> bytes:
    """As gRPC's specification has it for grpc-message: UTF-8, everything but printable ASCII in percent signs."""
    parts = [b"%c" % byte if byte in _PRINTABLE else b"%%%02X" % byte for byte in text.encode("utf-8", "replace")]
    return b"".join(parts[: TEXT // 3])
