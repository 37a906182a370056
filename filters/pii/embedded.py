"""JSON inside a string, as in the arguments of a tool call: read strictly, rewritten value by value."""

import re
from collections.abc import Sequence

from headrace.ext_proc.core.errors import BodyError
from headrace.ext_proc.core.json_body import parse, render
from headrace.ext_proc.core.verdict import Json, SetMember

# Read and rewritten as the one member of an object, so that any JSON value will do.
_BEFORE, _AFTER = '{"":', "}"
HOLDER = ""
"""The first step of every path into the value."""

_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|(.))", re.DOTALL)
_SHORT = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f"}


def opened(text: str) -> dict[str, Json] | None:
    """`{HOLDER: value}`, or None for text that is not exactly one JSON value, or that two parsers may read differently."""
    try:
        document = parse(f"{_BEFORE}{text}{_AFTER}".encode())
    except (BodyError, UnicodeEncodeError):
        return None
    return document if list(document) == [HOLDER] else None


def rewritten(text: str, edits: Sequence[SetMember]) -> str:
    """`text` with values set; what no edit touches stays as it is written.

    Raises BodyError for half of a surrogate pair.
    """
    body = render(f"{_BEFORE}{text}{_AFTER}".encode(), edits)
    return body[len(_BEFORE) : -len(_AFTER)].decode()


def unescaped(text: str) -> str:
    """`text` with JSON's escapes resolved wherever they stand: what a lenient reader might make of it."""
    return _ESCAPE.sub(_resolved, text)


def _resolved(escape: re.Match[str]) -> str:
    return chr(int(escape[1], 16)) if escape[1] else _SHORT.get(escape[2], escape[2])
