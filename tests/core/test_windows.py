"""Calendar windows cover time without gap or overlap, whatever the clocks of a zone do."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from headrace.ext_proc.core.ledger import Fixed
from headrace.ext_proc.core.windows import WindowKind, window_at

KINDS: tuple[WindowKind, ...] = ("minute", "hour", "day", "week", "month")
# Lord Howe changes by half an hour, Apia skipped a day, Havana has two midnights, Sao Paulo skipped midnight, St John's changed a
# minute after midnight, Kolkata and Kathmandu are off by minutes, Amsterdam was by seconds until 1937, Troll changes by two hours.
ZONES = tuple(
    ZoneInfo(name)
    for name in (
        "UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Pacific/Apia", "America/Havana",
        "America/Sao_Paulo", "Asia/Kolkata", "Asia/Kathmandu", "Europe/Amsterdam", "Antarctica/Troll",
        "America/St_Johns",
    )
)  # fmt: skip
HOUR_MS = 3_600_000

kinds = st.sampled_from(KINDS)
zones = st.sampled_from(ZONES)
instants = st.integers(-1_262_304_000_000, 4_102_444_800_000)  # 1930 to 2100


def ms(zone: ZoneInfo, *parts: int, fold: int = 0) -> int:
    return int(datetime(*parts, tzinfo=zone, fold=fold).timestamp() * 1000)  # type: ignore[arg-type, misc]


def local(at_ms: int, zone: ZoneInfo) -> datetime:
    return datetime.fromtimestamp(at_ms / 1000, UTC).astimezone(zone)


@given(instants, kinds, zones, st.floats(0, 1))
@example(ms(ZoneInfo("Australia/Lord_Howe"), 2026, 4, 5, 1, 45), "hour", ZoneInfo("Australia/Lord_Howe"), 0.0)
@example(ms(ZoneInfo("Australia/Lord_Howe"), 2026, 4, 5, 1, 45, fold=1), "hour", ZoneInfo("Australia/Lord_Howe"), 0.0)
@example(ms(ZoneInfo("Australia/Lord_Howe"), 2026, 10, 4, 2, 45), "hour", ZoneInfo("Australia/Lord_Howe"), 0.0)
@example(ms(ZoneInfo("America/St_Johns"), 2008, 3, 9, 0, 0, 30), "hour", ZoneInfo("America/St_Johns"), 1.0)
@example(ms(ZoneInfo("Pacific/Apia"), 2011, 12, 29, 23, 0), "day", ZoneInfo("Pacific/Apia"), 1.0)
def test_every_instant_of_a_window_is_in_that_window(now_ms: int, kind: WindowKind, zone: ZoneInfo, share: float) -> None:
    window = window_at(now_ms, kind, zone)
    assert window.start_ms <= now_ms < window.end_ms
    other = min(window.start_ms + int(share * (window.end_ms - window.start_ms)), window.end_ms - 1)
    for at_ms in (window.start_ms, other, window.end_ms - 1):
        assert window_at(at_ms, kind, zone) == window


@given(instants, kinds, zones)
def test_the_next_window_begins_where_this_one_ends(now_ms: int, kind: WindowKind, zone: ZoneInfo) -> None:
    window = window_at(now_ms, kind, zone)
    assert window_at(window.end_ms, kind, zone).start_ms == window.end_ms
    assert window_at(window.start_ms - 1, kind, zone).end_ms == window.start_ms


@given(instants, st.sampled_from(("day", "week", "month")), zones)
def test_two_instants_share_a_window_exactly_when_they_share_its_date(now_ms: int, kind: WindowKind, zone: ZoneInfo) -> None:
    def label(at_ms: int) -> tuple[int, ...]:
        moment = local(at_ms, zone)
        return {
            "day": (moment.year, moment.month, moment.day),
            "week": tuple(moment.isocalendar()[:2]),
            "month": (moment.year, moment.month),
        }[kind]

    window = window_at(now_ms, kind, zone)
    assert label(window.start_ms) == label(now_ms) == label(window.end_ms - 1)
    assert label(window.start_ms - 1) != label(now_ms) != label(window.end_ms)


@pytest.mark.parametrize(
    ("kind", "start", "end"),
    [
        ("minute", (2026, 11, 21, 3, 36), (2026, 11, 21, 3, 37)),
        ("hour", (2026, 11, 21, 3), (2026, 11, 21, 4)),
        ("day", (2026, 11, 21), (2026, 11, 22)),
        ("week", (2026, 11, 16), (2026, 11, 23)),
        ("month", (2026, 11, 1), (2026, 12, 1)),
    ],
)
def test_windows_are_those_of_the_local_calendar(kind: WindowKind, start: tuple[int, ...], end: tuple[int, ...]) -> None:
    zone = ZoneInfo("Asia/Kolkata")
    assert window_at(ms(zone, 2026, 11, 21, 3, 36, 12), kind, zone) == Fixed(ms(zone, *start), ms(zone, *end))


@pytest.mark.parametrize(("month", "day", "hours"), [(3, 29, 23), (10, 25, 25), (11, 21, 24)])
def test_a_day_is_as_long_as_the_clocks_make_it(month: int, day: int, hours: int) -> None:
    zone = ZoneInfo("Europe/Berlin")
    window = window_at(ms(zone, 2026, month, day, 12), "day", zone)
    assert window.end_ms - window.start_ms == hours * HOUR_MS


def test_the_hour_that_comes_twice_is_two_windows() -> None:
    zone = ZoneInfo("Europe/Berlin")
    first = window_at(ms(zone, 2026, 10, 25, 2, 30), "hour", zone)
    second = window_at(ms(zone, 2026, 10, 25, 2, 30, fold=1), "hour", zone)
    assert first.end_ms == second.start_ms
    assert second.end_ms - first.start_ms == 2 * HOUR_MS


def test_an_hour_in_which_the_clock_changes_is_cut_there() -> None:
    zone = ZoneInfo("Australia/Lord_Howe")  # at 02:00 it becomes 01:30
    change = ms(zone, 2026, 4, 5, 1, 30, fold=1)
    assert window_at(change, "hour", zone) == Fixed(change, change + HOUR_MS // 2)
    assert window_at(change - 1, "hour", zone) == Fixed(change - HOUR_MS, change)
