"""Text that stands encoded in a string of its own: data URLs and base64 of files, read and written anew."""

import re
from base64 import b64decode, b64encode
from codecs import getincrementaldecoder
from typing import NamedTuple
from urllib.parse import quote, unquote

BASE64 = re.compile(r"[A-Za-z0-9+/_\-\r\n]*={0,2}\s*")
_URL = re.compile(r"data:[\w.+/\-]*(?:;[\w=.\-]+)*?(;base64)?,", re.IGNORECASE)
_URL_SAFE = str.maketrans("-_", "+/")
_BLANKS = re.compile(r"\s+")
# Of the bytes that editors write; an image has others among its first thousand.
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1a\x1c-\x1f]")
_SAMPLE = 1024 * 4
_UTF8 = getincrementaldecoder("utf-8")


class Encoded(NamedTuple):
    """`head` is what stands before the text's encoding: a data URL's beginning, or nothing. base64: else percent-encoding."""

    head: str
    text: str
    base64: bool

    def closed(self, text: str) -> str:
        """The string with another text in it."""
        data = b64encode(text.encode("utf-8", "surrogatepass")).decode() if self.base64 else quote(text)
        return self.head + data


def opened(value: str) -> Encoded | None:
    """The text in a data URL, of whatever media type, or in bare base64; None where it is no UTF-8 text."""
    url = _URL.match(value)
    start = url.end() if url else 0
    if url and not url[1]:
        return Encoded(value[:start], unquote(value[start:]), base64=False)
    if BASE64.fullmatch(value, start) is None:
        return None
    text = _decoded(value[start:])
    return Encoded(value[:start], text, base64=True) if text else None


def is_readable(value: str) -> bool:
    """Whether there is text in `value`, as far as its beginning tells."""
    url = _URL.match(value)
    start = url.end() if url else 0
    if url and not url[1]:
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
