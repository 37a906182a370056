"""A request as upstreams may read it: several JSON parsers, several ideas of a path, and every decoding that words can hide in.

None of them is Headrace's own. Parsers: Python's json with the last and with the first of two keys, the body's charset obeyed,
the first of several documents; msgspec; jiter, which OpenAI's SDK and pydantic use; and names as Go reads them, in any case.
"""

import base64
import binascii
import gzip
import json
import re
import unicodedata
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import unquote, unquote_to_bytes

import jiter
import msgspec

Document = dict[str, Any]


def json_last(body: bytes) -> Any:
    return json.loads(body)


def json_first(body: bytes) -> Any:
    return json.loads(body, object_pairs_hook=lambda pairs: dict(reversed(pairs)))


def json_replaced(body: bytes) -> Any:
    """Bytes that are no UTF-8 replaced; what follows the first document is left."""
    text = body.decode("utf-8-sig", "replace").lstrip()
    return json.JSONDecoder().raw_decode(text)[0]


def json_go(body: bytes) -> Any:
    """encoding/json: a field takes every spelling of its name that folds to it, the last one wins; bad UTF-8 is replaced."""
    return json.loads(body.decode("utf-8", "replace"), object_pairs_hook=_folded)


def _folded(pairs: list[tuple[str, Any]]) -> Document:
    return {name.casefold(): value for name, value in pairs}


def json_msgspec(body: bytes) -> Any:
    return msgspec.json.decode(body)


def json_jiter(body: bytes) -> Any:
    return jiter.from_json(body, allow_inf_nan=True)


Reader = Callable[[bytes], Any]
READERS: Mapping[str, Reader] = {
    "json, last": json_last,
    "json, first": json_first,
    "lenient": json_replaced,
    "Go": json_go,
    "msgspec": json_msgspec,
    "jiter": json_jiter,
}
_CHARSET = re.compile(r";\s*charset\s*=\s*\"?([\w.:-]+)", re.IGNORECASE)


def readings(body: bytes, content_type: str = "") -> Mapping[str, Any]:
    """What each reader makes of the body; one that makes nothing of it is left out."""
    found = {name: value for name, reader in READERS.items() if (value := _read(reader, body)) is not None}
    if (charset := _CHARSET.search(content_type)) is not None:
        value = _read(lambda raw: json.loads(raw.decode(charset[1])), body)
        if value is not None:
            found[f"charset {charset[1]}"] = value
    return found


def _read(reader: Reader, body: bytes) -> Any:
    try:
        return reader(body)
    except (ValueError, LookupError, RecursionError, msgspec.DecodeError):
        return None


# --- words ---------------------------------------------------------------------------------------------------------------------

_ESCAPE = re.compile(rb"\\u([0-9a-fA-F]{4})")
_BASE64 = re.compile(rb"[A-Za-z0-9+/_-]{12,}={0,2}")
_INVISIBLE = dict.fromkeys([*range(0x200B, 0x2010), 0x2060, 0xFEFF, 0xAD])


def shows(body: bytes, word: str) -> str:
    """The decoding of `body` in which `word` can be read, or an empty string."""
    wanted = word.lower()
    return next((name for name, text in decodings(body) if wanted in text.lower()), "")


def decodings(body: bytes) -> Iterator[tuple[str, str]]:
    """Each with its name. The same bytes may be decoded more than once on the way: escapes within base64, and so on."""
    for first, raw in _unpacked(body):
        yield first, raw.decode("utf-8", "replace")
        for second, inner in _opened(raw):
            yield f"{first}, {second}", _plain(inner.decode("utf-8", "replace"))
            for third, innermost in _opened(inner):
                yield f"{first}, {second}, {third}", _plain(innermost.decode("utf-8", "replace"))


def _plain(text: str) -> str:
    return unicodedata.normalize("NFKC", text.translate(_INVISIBLE))


def _unpacked(body: bytes) -> Iterator[tuple[str, bytes]]:
    yield "raw", body
    for name, unpack in (("gzip", gzip.decompress), ("zlib", zlib.decompress), ("deflate", lambda raw: zlib.decompress(raw, -15))):
        try:
            yield name, unpack(body)
        except (OSError, EOFError, zlib.error):
            continue
    for charset in ("utf-16", "utf-32"):
        try:
            yield charset, body.decode(charset).encode()
        except UnicodeError:
            continue


def _opened(raw: bytes) -> Iterator[tuple[str, bytes]]:
    if b"\\" in raw:
        yield "unescaped", _ESCAPE.sub(lambda found: chr(int(found[1], 16)).encode("utf-8", "replace"), raw).replace(b"\\/", b"/")
    if b"%" in raw:
        yield "percent", unquote_to_bytes(raw)
    if b64 := b"\n".join(_base64(raw)):
        yield "base64", b64
    if not raw.isascii():
        yield "plain", raw


def _base64(raw: bytes) -> Iterator[bytes]:
    for run in _BASE64.findall(raw):
        data = run.rstrip(b"=").translate(bytes.maketrans(b"-_", b"+/"))
        try:
            decoded = base64.b64decode(data[: len(data) - (len(data) % 4 == 1)] + b"=" * (-len(data) % 4))
            yield decoded.decode().encode()
        except (binascii.Error, UnicodeDecodeError):
            continue


# --- paths ---------------------------------------------------------------------------------------------------------------------

ENDPOINTS = {
    "/chat/completions": "chat",
    "/completions": "completions",
    "/embeddings": "embeddings",
    "/responses": "responses",
    "/v1/messages": "messages",
}


def endpoints(target: str) -> set[str]:
    """The endpoints that an upstream may take a request's target for; empty where none does."""
    found = (_endpoint(path) for path in _paths(target))
    return {endpoint for endpoint in found if endpoint}


def _endpoint(path: str) -> str:
    return next((name for suffix, name in ENDPOINTS.items() if path.lower().endswith(suffix)), "")


def _paths(target: str) -> Iterator[str]:
    """As it is; without its query; decoded; merged; without parameters, dots, capitals and a trailing slash."""
    bare = re.sub(r"^[a-z]+://[^/]*", "", target, flags=re.IGNORECASE)
    for path in (bare.split("?")[0], bare.split("?")[0].split("#")[0]):
        for decoded in (path, unquote(path)):
            yield decoded
            yield re.sub(r"/+", "/", decoded).rstrip("/").lower()
            yield _resolved(re.sub(r";[^/]*", "", decoded.replace("\\", "/")).lower())


def _resolved(path: str) -> str:
    kept: list[str] = []
    for segment in path.split("/"):
        if segment == "..":
            del kept[-1:]
        elif segment.strip() not in ("", "."):
            kept.append(segment.strip())
    return "/" + "/".join(kept)
