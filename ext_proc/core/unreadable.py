"""What a request's headers say that keeps it from being read as its upstream reads it."""

import re
from typing import Final

from headrace.ext_proc.core.course import is_encoded
from headrace.ext_proc.core.headers import Headers
from headrace.ext_proc.core.verdict import Reply

MAX_HEADERS: Final = 90
"""Fields, pseudo headers and the gateway's own included. Envoy takes 100 and answers a change that it has no room for with a bare
500; the rest is for what the filters and the gateway set.
"""

_CHARSET: Final = re.compile(r"charset\s*=\s*[\"']?([^\s\"';,]*)", re.IGNORECASE)
_READ: Final = frozenset({"", "utf-8", "utf8", "us-ascii", "ascii", "iso-8859-1", "latin1"})
"""Latin-1 is what old clients say of what they write in ASCII; of other bytes it makes accented letters, and nothing to hide in."""

_TOO_MANY: Final = Reply(431, "headers.too_many", f"The request has more than {MAX_HEADERS} headers. Send fewer.")
_ENCODED: Final = Reply(415, "body.encoded", "The request body is compressed. Send it without a content-encoding.")
_CHARSETS: Final = Reply(
    415, "body.charset", "The content-type names a charset other than UTF-8. JSON is UTF-8: leave the charset out."
)

_WEBSOCKET: Final = Reply(
    426, "body.websocket", "What a WebSocket carries is not read by this gateway. Send the request with POST, without an upgrade."
)
"""426 is what clients that speak both, such as Codex, take as the word to go on over HTTP; a 400 ends their turn."""


def too_many(headers: Headers) -> Reply | None:
    """The refusal of a request with more headers than the gateway can carry through, or None."""
    return _TOO_MANY if len(headers.pairs) > MAX_HEADERS else None


def asks_for_websocket(headers: Headers) -> bool:
    """Whatever is sent over it comes behind the request, which itself has no body."""
    return "websocket" in headers.get("upgrade").lower()


def unreadable(headers: Headers) -> Reply | None:
    """The refusal of a body that an upstream may read in another way than the filters, by its headers; or None.

    A server that obeys `charset=utf-7` reads other words in the same JSON: in UTF-7 all of ASCII can be written as ASCII.
    """
    if is_encoded(headers):
        return _ENCODED
    if asks_for_websocket(headers):
        return _WEBSOCKET
    for value in headers.get_all("content-type"):
        if "charset" in value.lower() and any(charset.lower() not in _READ for charset in _CHARSET.findall(value)):
            return _CHARSETS
    return None
