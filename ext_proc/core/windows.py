"""Calendar windows: which minute, hour, day, week or month of a time zone an instant belongs to.

The windows of one kind in one zone cover time without gap or overlap, also where a clock is put forward or back: a day
is then 23 or 25 hours long, and an hour in which the clock changes is cut there.
"""

from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Literal

from headrace.ext_proc.core.ledger import Fixed

WindowKind = Literal["minute", "hour", "day", "week", "month"]

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MILLISECOND = timedelta(milliseconds=1)
DAY = timedelta(days=1)
LENGTH_MS: dict[WindowKind, int] = {"minute": 60_000, "hour": 3_600_000}


def window_at(now_ms: int, kind: WindowKind, zone: tzinfo) -> Fixed:
    """The window of this kind, in this zone's local time, that holds `now_ms` (epoch milliseconds).

    Weeks begin on Monday (ISO 8601). Raises OverflowError outside the years 1 to 9999.
    """
    if kind in LENGTH_MS:
        return _clock_window(now_ms, LENGTH_MS[kind], zone)
    first, after = _DATES[kind](_local(now_ms, zone).date())
    return Fixed(_midnight(first, zone), _midnight(after, zone))


def _local(at_ms: int, zone: tzinfo) -> datetime:
    return (EPOCH + at_ms * MILLISECOND).astimezone(zone)


def _midnight(day: date, zone: tzinfo) -> int:
    """When the day begins: the first of two midnights; where midnight is skipped, the instant that skips it."""
    return (datetime.combine(day, time(), zone).astimezone(UTC) - EPOCH) // MILLISECOND


def _day(today: date) -> tuple[date, date]:
    return today, today + DAY


def _week(today: date) -> tuple[date, date]:
    monday = today - today.weekday() * DAY
    return monday, monday + 7 * DAY


def _month(today: date) -> tuple[date, date]:
    first = today.replace(day=1)
    return first, (first + 31 * DAY).replace(day=1)


_DATES: dict[WindowKind, Callable[[date], tuple[date, date]]] = {"day": _day, "week": _week, "month": _month}


def _offset_ms(at_ms: int, zone: tzinfo) -> int:
    return (_local(at_ms, zone).utcoffset() or timedelta()) // MILLISECOND


def _clock_window(now_ms: int, length_ms: int, zone: tzinfo) -> Fixed:
    """The minute or hour on the local clock's face, cut where the clock is changed within it."""
    offset_ms = _offset_ms(now_ms, zone)
    start_ms = now_ms - (now_ms + offset_ms) % length_ms
    end_ms = start_ms + length_ms
    if _offset_ms(start_ms, zone) != offset_ms:
        start_ms = _first(lambda at_ms: _offset_ms(at_ms, zone) == offset_ms, start_ms, now_ms)
    if _offset_ms(end_ms - 1, zone) != offset_ms:
        end_ms = _first(lambda at_ms: _offset_ms(at_ms, zone) != offset_ms, now_ms, end_ms - 1)
    return Fixed(start_ms, end_ms)


def _first(holds: Callable[[int], bool], low: int, high: int) -> int:
    """The smallest number for which `holds`, false at `low` and true at `high`, by bisection."""
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high
