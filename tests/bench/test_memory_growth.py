"""The bench of memory serves and changes what it says."""

import pytest

from tests.bench import memory_growth


async def test_requests_are_served_and_policies_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_growth, "SIZE", 400)
    monkeypatch.setattr(memory_growth, "CALLERS", 32)
    found = await memory_growth.measure(40, 10)
    assert list(found["mb_by_requests"]) == [4 * step for step in range(11)]
    assert list(found["mb_by_policies"]) == list(range(11))
    assert all(10 < mb < 2000 for mb in (*found["mb_by_requests"].values(), *found["mb_by_policies"].values()))
