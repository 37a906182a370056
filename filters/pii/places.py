"""Postal addresses: what patterns know of them, and the pieces that a model found, put together."""

import re
from collections.abc import Iterator, Sequence

from headrace.filters.pii.spans import Span

PLACE = "LOCATION"
SCORE = 0.5

_NUMBER = r"\d{1,5}[A-Za-z]?"
_UNIT = rf"(?:Apt|Apartment|Suite|Ste|Unit|Room|Floor|Bldg|Building|Flat)\b\.?[ ]?\#?{_NUMBER}\b"
_BOX = r"(?:P\.?[ ]?O\.?[ ]?)?Box[ ]\d{1,6}\b"
_MILITARY = r"(?:PSC|CMR|Unit)[ ]\d{1,5},?[ ]Box[ ]\d{1,5}\s{1,2}(?:APO|FPO|DPO)[ ]A[AEP][ ]\d{5}\b"
_PARTS = re.compile(rf"\b(?:{_MILITARY}|{_UNIT}|{_BOX})", re.IGNORECASE)
# Between two pieces of an address: marks, one word of a street's name or a town's, a house number.
_BETWEEN = re.compile(r"[\W_]{0,6}(?:(?:[A-ZÀ-ÖØ-Þ][\w'’.\-]{0,24}|\d{1,6}[A-Za-z]?|\w{1,3}\.?)[\W_]{1,6}){0,2}")
_BEFORE = re.compile(r"(?<![\w.,/-])(?:\d{1,5}[A-Za-z]?[ ]){1,2}$")
_BEHIND = re.compile(r"(?:[ ,]{1,2}|[ ,>]{0,2}\n[ >,]{0,3})(?:[A-Z]{2,3}[ ])?\d{4,6}(?:-\d{4})?\b(?![\w-])")
_HOUSE = re.compile(r"[ ]\d{1,4}[A-Za-z]?\b(?![.,/-]?\d|[ ]?%)")


def parts(text: str) -> Iterator[Span]:
    """Pieces of addresses that need no model: flats, post boxes, military addresses."""
    return (Span(found.start(), found.end(), PLACE, SCORE) for found in _PARTS.finditer(text))


def addresses(text: str, spans: Sequence[Span]) -> Sequence[Span]:
    """`spans`, with the pieces of one address as one finding, its numbers included. In and out: by place, apart from each other."""
    joined: list[Span] = []
    for span in spans:
        last = joined[-1] if joined else None
        if last is not None and _is_piece(last) and _continues(text, last, span):
            joined[-1] = Span(last.start, span.end, PLACE, max(last.score, span.score))
        else:
            joined.append(span)
    return _grown(text, joined)


def _is_piece(span: Span) -> bool:
    return span.entity == PLACE


def _continues(text: str, last: Span, span: Span) -> bool:
    gap = text[last.end : span.start]
    if not _is_piece(span):
        return False
    if not any(map(str.isalnum, gap)):
        return len(gap) <= 8 and _has_digit(text, last, span)
    return _has_digit(text, last, span) and bool(_BETWEEN.fullmatch(gap))


def _has_digit(text: str, *spans: Span) -> bool:
    return any(character.isdigit() for span in spans for character in text[span.start : span.end])


def _grown(text: str, spans: Sequence[Span]) -> Sequence[Span]:
    """Each place with the house number before or behind it and the postcode behind it, where nothing else was found there."""
    grown: list[Span] = []
    for index, span in enumerate(spans):
        if span.entity != PLACE:
            grown.append(span)
            continue
        floor = grown[-1].end if grown else 0
        ceiling = spans[index + 1].start if index + 1 < len(spans) else len(text)
        before = _BEFORE.search(text[max(floor, span.start - 16) : span.start])
        start = span.start - len(before[0]) if before else span.start
        behind = _BEHIND.match(text, span.end, ceiling) or _HOUSE.match(text, span.end, ceiling)
        grown.append(span._replace(start=start, end=behind.end() if behind else span.end))
    return grown
