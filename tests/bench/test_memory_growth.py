"""The bench of memory serves what it says, and its slopes are those of its points."""

import pytest

from tests.bench import memory_growth


def test_a_slope_is_that_of_the_line() -> None:
    assert memory_growth.slope([(0, 7), (10, 27), (20, 47)]) == pytest.approx(2)


async def test_requests_are_served_and_policies_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_growth, "SIZE", 400)
    monkeypatch.setattr(memory_growth, "CALLERS", 32)
    found = await memory_growth.measure(40, 10)
    assert list(found["mb_by_requests"]) == [4 * step for step in range(11)]
    assert list(found["mb_by_policies"]) == list(range(11))
    assert all(10 < mb < 2000 for mb in (*found["mb_by_requests"].values(), *found["mb_by_policies"].values()))
