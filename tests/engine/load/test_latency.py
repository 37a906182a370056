"""Moving averages of how soon answers begin, and what of the records goes into them."""

from typing import Any

import pytest

from headrace.ext_proc.core.effects import Record
from headrace.ext_proc.engine.load.latency import LAPSE_MS, MOST, Latency

NOW = 1_780_315_200_000
STREAMED = {"route": "a", "model": "m", "stream": True, "status": 200, "first_byte_ms": 200.0, "start_ms": NOW}


def told(**changes: Any) -> float | None:
    latency = Latency()
    members = {name: value for name, value in {**STREAMED, **changes}.items() if value is not None}
    latency.observe(Record(changes.pop("kind", "settlement"), members))
    return latency.of("a", "m", NOW + 1000)


def test_a_streamed_answer_is_seen() -> None:
    assert told() == 200.0


@pytest.mark.parametrize(
    "changes",
    [
        {"stream": False},
        {"status": 500},
        {"failed": ["b"]},
        {"first_byte_ms": None},
        {"route": None},
        {"model": None},
        {"start_ms": None},
        {"kind": "decision"},
    ],
    ids=str,
)
def test_what_says_nothing_of_the_one_that_answered_is_left_out(changes: dict[str, Any]) -> None:
    assert told(**changes) is None


def test_the_average_moves_by_a_fifth() -> None:
    latency = Latency()
    for ms in (100.0, 200.0):
        latency.seen("a", "m", ms, NOW)
    assert latency.of("a", "m", NOW) == pytest.approx(120.0)
    assert latency.of("a", "other", NOW) is None


def test_it_is_forgotten_when_nothing_is_seen() -> None:
    latency = Latency()
    latency.seen("a", "m", 100.0, NOW)
    assert latency.of("a", "m", NOW + LAPSE_MS) == 100.0
    assert latency.of("a", "m", NOW + LAPSE_MS + 1) is None
    latency.seen("a", "m", 500.0, NOW + LAPSE_MS + 1)
    assert latency.of("a", "m", NOW + LAPSE_MS + 1) == 500.0


def test_averages_are_bounded() -> None:
    latency = Latency()
    for number in range(MOST + 1):
        latency.seen(f"u{number}", "m", 1.0, NOW)
    assert latency.of("u0", "m", NOW) is None
    assert latency.of(f"u{MOST}", "m", NOW) == 1.0
