"""Numbers of programs that have the form of personal data: versions, slices, object identifiers, alphabets. Of the layer `code`."""

import re

from headrace.filters.pii.spans import Span

# A date with full stops is a version behind that word, compared or not; a date with hyphens or slashes is none.
_VERSION = re.compile(r"(?:version|release)[ \t]*[<>=]{0,2}[ \t]*[\"']?$", re.IGNORECASE)
_DOTTED = re.compile(r"\d{1,2}\.\d{1,2}\.\d{2,4}")
_SLICE = re.compile(r"::\d{0,2}")
_SLICED = re.compile(r"[\w)\]]\[$")
_BEFORE, _BEHIND = re.compile(r"[\d.]*$"), re.compile(r"[\d.]*")
# An address and a port are written with five parts, too.
_FEWEST_PARTS = 6
_DIGITS_IN_ORDER = "0123456789"
_BACK = 32
"""Characters before a finding that are looked at."""


def is_of_a_program(text: str, span: Span) -> bool:
    """Whether the finding is such a number, by what it is and what stands beside it."""
    value, before = text[span.start : span.end], text[max(0, span.start - _BACK) : span.start]
    if span.entity == "DATE_TIME":
        return _DOTTED.fullmatch(value) is not None and _VERSION.search(before) is not None
    if span.entity == "IP_ADDRESS":
        sliced = _SLICE.fullmatch(value) is not None and _SLICED.search(before) is not None
        return sliced or _parts(text, span, before) >= _FEWEST_PARTS
    return value == _DIGITS_IN_ORDER


def _parts(text: str, span: Span, before: str) -> int:
    """Numbers in the row of numbers and full stops that an address is part of."""
    ahead, behind = _BEFORE.search(before), _BEHIND.match(text, span.end, span.end + _BACK)
    row = (ahead[0] if ahead else "") + text[span.start : span.end] + (behind[0] if behind else "")
    return sum(map(bool, row.split("."))) if "." in text[span.start : span.end] else 0
