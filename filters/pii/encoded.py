"""Text that stands encoded in a string of its own: data URLs and base64 of files, read and written anew."""

import re
from base64 import b64decode, b64encode
from codecs import getincrementaldecoder
from typing import NamedTuple
from urllib.parse import quote, unquote

BASE64 = re.compile(r"[A-Za-z0-9+/_\-\r\n]*={0,2}\s*")
_URL = re.compile(r"data:[\w.+/\-]*(?:;[\w=.\-]+)*?(;base64)?,", re.IGNORECASE)
_ODD_URL = re.compile(r"\s*data:[^\n]{0,512}?;[^\S\n]*base64[^\S\n]*,[^\S\n]*", re.IGNORECASE)
_URL_SAFE = str.maketrans("-_", "+/")
_BLANKS = re.compile(r"\s+")
# Of the bytes that editors write; an image has others among its first thousand.
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1a\x1c-\x1f]")
_SAMPLE = 1024 * 4
_UTF8 = getincrementaldecoder("utf-8")


class Encoded(NamedTuple):
    """`head` is what stands before the text's encoding: a data URL's beginning, or nothing. base64: else percent-encoding.

    told: `text` begins with the head and a line feed, because there may be anything in it.
    """

    head: str
    text: str
    base64: bool
    told: bool = False

    def closed(self, text: str) -> str:
        """The string with another text in it."""
        head, _, text = text.partition("\n") if self.told else (self.head, "", text)
        data = b64encode(text.encode("utf-8", "surrogatepass")).decode() if self.base64 else quote(text)
        return head + data


class _Head(NamedTuple):
    """The beginning of a data URL, as far as `end`; 0 for any other string. usual: there is nothing to search in it."""

    end: int
    base64: bool
    usual: bool = True


def head_of(value: str) -> _Head:
    """Parameters may have quotes, blanks, commas: what stands behind `;base64,` is base64."""
    usual = _URL.match(value)
    if not (usual and usual[1]) and (odd := _ODD_URL.match(value)):
        return _Head(odd.end(), base64=True, usual=False)
    return _Head(usual.end(), base64=bool(usual[1])) if usual else _Head(0, base64=True)


def opened(value: str) -> Encoded | None:
    """The text in a data URL, of whatever media type, or in bare base64; None where it is no UTF-8 text."""
    end, base64, usual = head_of(value)
    head = value[:end]
    if not base64:
        return Encoded(head, unquote(value[end:]), base64=False)
    if BASE64.fullmatch(value, end) is None or not (text := _decoded(value[end:])):
        return None
    return Encoded(head, text, base64=True) if usual else Encoded(head, f"{head}\n{text}", base64=True, told=True)


def is_readable(value: str) -> bool:
    """Whether there is text in `value`, as far as its beginning tells."""
    start, base64, _ = head_of(value)
    if not base64:
        return True
    end = start + _SAMPLE
    return BASE64.fullmatch(value, start) is not None and bool(_decoded(value[start:end], final=len(value) <= end))


def _decoded(data: str, *, final: bool = True) -> str | None:
    """Text of base64, which may be URL-safe, broken into lines, or without its padding; None for other bytes.

    final: `data` is all there is, and no beginning.
    """
    data = _BLANKS.sub("", data).translate(_URL_SAFE).rstrip("=")
    if len(data) % 4 == 1:
        data = data[:-1]
    try:
        text = _UTF8().decode(b64decode(data + "=" * (-len(data) % 4)), final)
    except ValueError:
        return None
    return None if _CONTROL.search(text) else text
