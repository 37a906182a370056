"""One line of a chain: a record at its place, bound to the line before it by that line's SHA-256.

    {"seq":17,"prev":"<64 hex>","time":"2026-11-01T12:00:00.000Z","kind":"decision","record":{…},"bodies":{…}}

`prev` of a chain's first line is ORIGIN. A line's hash is taken over its bytes without the line break.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, Final

import msgspec

from headrace.ext_proc.core.json_body import NO_JSON

ORIGIN: Final = "0" * 64
CHECKPOINT: Final = "checkpoint"
"""Kind of a line that signs everything before it."""
SEGMENT: Final = "segment"
"""Kind of a file's first line, which says whose it is."""
CLOSED: Final = "closed"
"""Kind of a chain's last record, where its worker has closed it."""
RECOVERED: Final = "recovered"
"""Kind of a record that says where a chain ends whose worker had died."""

_encode = msgspec.json.Encoder(enc_hook=str).encode


class Line(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """seq: from 1, over all segments of a chain. bodies: by `request` and `answer`, see `vault`."""

    seq: int
    prev: str
    time: str
    kind: str
    record: dict[str, Any] = {}
    bodies: dict[str, dict[str, Any]] = {}


_decode = msgspec.json.Decoder(Line).decode


def encoded(seq: int, prev: str, time: str, kind: str, record: Mapping[str, Any], bodies: Mapping[str, Any] | None = None) -> bytes:
    """Without a line break. seq, prev and time need no escaping; kind is a name in code."""
    more = b',"bodies":' + _encode(bodies) if bodies else b""
    return b'{"seq":%d,"prev":"%s","time":"%s","kind":"%s","record":%s%s}' % (
        seq, prev.encode(), time.encode(), kind.encode(), _encode(record), more,
    )  # fmt: skip


def decoded(data: bytes) -> Line | None:
    """None for what is no line."""
    try:
        return _decode(data)
    except NO_JSON:
        return None


def hash_of(data: bytes) -> str:
    return sha256(data).hexdigest()


def spelled(at_ms: int) -> str:
    """Epoch milliseconds in UTC; spelled instants sort as they follow each other."""
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def instant(time: str) -> int:
    """The other direction. Raises ValueError."""
    return round(datetime.fromisoformat(time).timestamp() * 1000)
