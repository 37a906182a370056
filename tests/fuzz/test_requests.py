"""A few hundred of the mutated requests through real Envoy; `make fuzz` is for many."""

import pytest

from tests.fuzz.driver import Report, books, run, stage

REQUESTS = 300

pytestmark = pytest.mark.e2e


async def test_whatever_is_done_to_a_request_nothing_is_smuggled_and_nothing_passes_unread() -> None:
    report = Report()
    async with stage("short") as running:
        await run(running, range(REQUESTS), report)
        await books(running, report)
    assert report.findings == []
    assert report.outcomes["passed"] > REQUESTS / 10
    assert len(report.outcomes) > 8
