"""A model that is withdrawn on a day."""

from pathlib import Path

import pytest

from headrace.ext_proc.core.events import Proceed, Refuse
from headrace.ext_proc.engine.policy.problems import PolicyErrors
from tests.filters.compiled import ManualClock, compiled, exchange_with
from tests.kit import body, last, post

POLICY = """
    version: 1
    upstreams: {a: {url: "http://127.0.0.1:1"}}
    models: [{name: m, sunset: 2026-07-01, pools: [{upstream: a}]}]
    filters: [{routing: {}}]
"""
MIDNIGHT_MS = 1_782_864_000_000
"""2026-07-01T00:00:00Z"""
ASKED = body({"model": "m", "messages": [{"role": "user", "content": "hi"}]})


async def test_it_is_served_until_the_day_begins(tmp_path: Path) -> None:
    exchange = exchange_with(compiled(tmp_path, POLICY, clock=ManualClock(MIDNIGHT_MS - 1)))
    assert isinstance(await last(exchange, post(), ASKED), Proceed)


async def test_it_is_refused_from_then_on(tmp_path: Path) -> None:
    exchange = exchange_with(compiled(tmp_path, POLICY, clock=ManualClock(MIDNIGHT_MS)))
    answer = await last(exchange, post(), ASKED)
    assert isinstance(answer, Refuse)
    assert (answer.status, answer.reason) == (404, "model.sunset")
    assert b"since 2026-07-01" in answer.body


@pytest.mark.parametrize("day", ["2026-02-30", "2026-7-1", "20260701", "soon"])
def test_what_is_no_day_is_said(tmp_path: Path, day: str) -> None:
    with pytest.raises(PolicyErrors, match="sunset"):
        compiled(tmp_path, POLICY.replace("2026-07-01", f'"{day}"'))
