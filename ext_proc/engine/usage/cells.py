"""The cells of an invoice: days, names, counts and money, as providers write them. Whatever the file holds, values are bounded."""

import re
from datetime import UTC, date, datetime, timedelta, tzinfo
from decimal import Decimal
from typing import Final

NAME_MAX: Final = 200
"""Characters; line items are longer than models."""

COUNT_MAX: Final = 2**53
MONEY_MAX: Final = Decimal(10**12)
FINEST: Final = Decimal("1e-12")
"""USD. Costs are exported with up to 30 decimals; what is finer than this is no price's."""

YEARS: Final = range(2000, 2200)
_NUMBER: Final = re.compile(r"[+-]?(\d{1,40}(\.\d{0,40})?|\.\d{1,40})([eE][+-]?\d{1,2})?", re.ASCII)
_EPOCH: Final = re.compile(r"\d{9,11}", re.ASCII)


class CellError(ValueError):
    """Says what the cell holds and what would be right."""


def day_of(text: str, zone: tzinfo) -> date:
    """A day, or the day in `zone` of an instant (ISO 8601, or seconds since 1970). Raises CellError."""
    at = _instant(text, zone)
    return at.date() if isinstance(at, datetime) else at


def last_day_of(text: str, zone: tzinfo) -> date:
    """The last day of a time that ends before `text`. Raises CellError."""
    at = _instant(text, zone)
    return (at - timedelta(microseconds=1)).date() if isinstance(at, datetime) else at - timedelta(days=1)


def _instant(text: str, zone: tzinfo) -> date:
    """An instant (a datetime, in `zone`), or a day."""
    try:
        found = _parsed(text, zone)
    except (ValueError, OverflowError):
        found = date.min
    if found.year not in YEARS:
        raise CellError(f"{_quoted(text)} is no day or time such as 2026-11-01, 2026-11-01T00:00:00Z or 1793491200")
    return found


def _parsed(text: str, zone: tzinfo) -> date:
    if _EPOCH.fullmatch(text):
        return datetime.fromtimestamp(int(text), UTC).astimezone(zone)
    if "T" not in text and " " not in text:
        return date.fromisoformat(text)
    at = datetime.fromisoformat(text)
    return at.astimezone(zone) if at.tzinfo else at


def name_of(text: str) -> str:
    """Raises CellError for what a terminal should not be shown."""
    if len(text) > NAME_MAX or not text.isprintable():
        raise CellError(f"{_quoted(text)} is no name: up to {NAME_MAX} printable characters")
    return text


def count_of(text: str) -> Decimal:
    """`3`, and `3.0`, as some exports write it; 0 for an empty cell. Raises CellError."""
    number = _number(text)
    if number is None or number != number.to_integral_value() or not 0 <= number <= COUNT_MAX:
        raise CellError(f"{_quoted(text)} is no count such as 1200")
    return Decimal(int(number))


def money_of(text: str) -> Decimal:
    """Down to FINEST; negative for credits; 0 for an empty cell. Raises CellError."""
    number = _number(text)
    if number is None or abs(number) >= MONEY_MAX:
        raise CellError(f"{_quoted(text)} is no amount such as 1234.50, without signs of currency or thousands")
    return number.quantize(FINEST)


def _number(text: str) -> Decimal | None:
    if not text:
        return Decimal(0)
    return Decimal(text) if _NUMBER.fullmatch(text) else None


def _quoted(text: str) -> str:
    return ascii(text[:60])
