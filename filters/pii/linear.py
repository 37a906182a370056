"""Presidio's patterns in RE2: on ASCII text the same matches, in linear time, at a fraction of the cost.

Beyond ASCII the engines differ in what is a letter, a digit or a small letter's capital.
"""

import re
from typing import Any

import re2
import regex  # type: ignore[import-untyped]

FLAGS = int(regex.IGNORECASE | regex.DOTALL | regex.MULTILINE)
"""What Presidio compiles its patterns with."""
CLASS = r"\[\^?\]?(?:\\.|\[:\^?\w+:\]|[^\]\\])*\]"
"""A class of characters in a pattern."""

_TOKEN = re.compile(rf"({CLASS})|\\(.)", re.DOTALL)
# RE2 reads {,3} as it stands, others as {0,3}; \Q is its own; \S in a class would need a class within a class.
_FOREIGN = re.compile(r"\{,|\\Q|\[[^\]]*\\S")
_IN_CLASS = re.compile(r"\\(.)", re.DOTALL)
# RE2's \s leaves the vertical tab out.
_BLANK = r"\t-\r\x20"
_BLANKS = {"s": f"[{_BLANK}]", "S": f"[^{_BLANK}]"}


def linear(pattern: str, flags: int) -> Any:
    """The pattern compiled for ASCII, as bytes or text, without its groups, which take a second engine to find.

    None where RE2 has no such pattern, or might mean something else.
    """
    if flags != FLAGS or _FOREIGN.search(pattern):
        return None
    try:
        return re2.compile(f"(?ims){_TOKEN.sub(_translated, pattern)}", _options())
    except re2.error:
        return None


def _translated(token: re.Match[str]) -> str:
    if token[1] is None:
        return _BLANKS.get(token[2], token[0])
    return _IN_CLASS.sub(lambda each: _BLANK if each[1] == "s" else each[0], token[1])


def _options() -> Any:
    options = re2.Options()
    options.log_errors = False
    options.never_capture = True
    return options
