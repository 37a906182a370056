"""Header blocks: requests decoded by the hpack library and checked, answers written as constants.

Once the peer has heard that we keep no dynamic table, a block always means the same: a gateway sends the same few blocks over and
over, and each is decoded once.
"""

import re
from collections.abc import Iterable, Mapping
from typing import TypeVar

from hpack import Decoder
from hpack.exceptions import HPACKError, OversizedHeaderListError
from msgspec import Struct

from headrace.ext_proc.envoy.h2.errors import ConnectionFault, ErrorCode
from headrace.ext_proc.envoy.h2.fields import NotCut, fields
from headrace.ext_proc.envoy.h2.limits import HEADER_LIST

CACHED, CACHED_BYTES = 256, 2_048
"""Blocks and fields that are remembered, and the bytes of one: a megabyte for each connection at most."""
ENTRY = 32
"""Bytes that HTTP/2 counts for each header on top of its own."""

_REQUIRED = frozenset({":method", ":scheme", ":path"})
_PSEUDO = _REQUIRED | {":authority"}
_OF_CONNECTIONS = frozenset({"connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"})
_TIMEOUT = re.compile(r"([0-9]{1,8})([HMSmun])")
_SECONDS = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}

Pair = tuple[str, str]
T = TypeVar("T")


class Request(Struct, frozen=True):
    """What a request's headers ask for.

    malformed: why they are no HTTP/2 request, else empty. refused: the HTTP status for a request that is no gRPC call, else 0.
    timeout_s: the caller's deadline, from now.
    """

    path: str = ""
    metadata: Mapping[str, str] = {}
    timeout_s: float | None = None
    malformed: str = ""
    refused: int = 0


class HeaderDecoder:
    """Decodes one connection's blocks, each exactly once and in their order: HPACK has a state."""

    def __init__(self) -> None:
        self._decoder = Decoder(max_header_list_size=HEADER_LIST)
        self._seen: dict[bytes, Request] = {}
        self._fields: dict[bytes, Pair] = {}
        self._stands_alone = False
        """Whether blocks mean the same wherever they stand: there is no dynamic table."""

    def forget_table(self) -> None:
        """The peer has heard that we keep no dynamic table; its next block must say so."""
        self._decoder.max_allowed_table_size = 0

    def decode(self, block: bytes) -> Request:
        """Raises ConnectionFault for a block after which no other can be understood."""
        if self._stands_alone and (seen := self._seen.get(block)) is not None:
            return seen
        stood_alone = self._stands_alone
        request = checked(self._pairs(block))
        self._stands_alone = self._decoder.header_table_size == 0
        if stood_alone and self._stands_alone:
            _remember(self._seen, block, request)
        return request

    def _pairs(self, block: bytes) -> list[Pair]:
        if not self._stands_alone:
            return self._decoded(block)
        try:
            found = [self._field(field) for field in fields(block)]
        except NotCut:
            return self._decoded(block)
        if sum(len(name) + len(value) + ENTRY for name, value in found) > HEADER_LIST:
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, f"headers over {HEADER_LIST} bytes")
        return found

    def _field(self, field: bytes) -> Pair:
        if (known := self._fields.get(field)) is not None:
            return known
        (pair,) = self._decoded(field)
        _remember(self._fields, field, pair)
        return pair

    def _decoded(self, block: bytes) -> list[Pair]:
        try:
            return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in self._decoder.decode(block, raw=True)]
        except OversizedHeaderListError:
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, f"headers over {HEADER_LIST} bytes") from None
        except HPACKError as error:
            raise ConnectionFault(ErrorCode.COMPRESSION_ERROR, f"a header block that is none: {error}") from None


def _remember(known: dict[bytes, T], key: bytes, value: T) -> None:
    if len(key) > CACHED_BYTES:
        return
    if len(known) >= CACHED:
        known.clear()
    known[key] = value


def checked(pairs: Iterable[Pair]) -> Request:
    """The request in a list of headers (RFC 9113, section 8.2 and 8.3; gRPC over HTTP/2, requests)."""
    found: dict[str, str] = {}
    for name, value in pairs:
        if fault := _fault(name, value, found):
            return Request(malformed=fault)
        found[name] = value
    if _REQUIRED - found.keys():
        return Request(malformed="a request without method, scheme or path")
    return _call(found)


def _fault(name: str, value: str, before: Mapping[str, str]) -> str:
    """Why a header must not come after those before it."""
    if name.startswith(":"):
        if name not in _PSEUDO or name in before:
            return f"the pseudo-header {name!r} is unknown or comes twice"
        return "a pseudo-header after other headers" if any(other[:1] != ":" for other in before) else ""
    if not name or name != name.lower() or not name.isprintable() or any(mark in name for mark in " :"):
        return f"{name!r} is no header's name"
    if any(mark in value for mark in "\0\r\n"):
        return f"a control character in {name}"
    if name in _OF_CONNECTIONS or (name == "te" and value != "trailers"):
        return f"{name} has no place in HTTP/2"
    return ""


def _call(found: dict[str, str]) -> Request:
    if found[":method"] != "POST":
        return Request(refused=405)
    if not _is_grpc(found.get("content-type", "")):
        return Request(refused=415)
    metadata = {name: value for name, value in found.items() if name[0] != ":"}
    timeout = found.get("grpc-timeout")
    if timeout is None:
        return Request(found[":path"], metadata)
    if (match := _TIMEOUT.fullmatch(timeout)) is None:
        return Request(refused=400)
    return Request(found[":path"], metadata, int(match[1]) * _SECONDS[match[2]])


def _is_grpc(content_type: str) -> bool:
    """`application/grpc`, with a suffix or parameters."""
    return content_type.startswith("application/grpc") and content_type[16:17] in ("", "+", ";")
