"""The short form of `make soak`: everything breaks for a while, and nothing is lost. Times are measured and never judged."""

import os

import pytest

from tests.soak.report import Report
from tests.soak.run import Plan, soak

SEED = int(os.environ.get("HEADRACE_SEED", "9"))
PLAN = Plan(SEED, rounds=1, before_s=4, struck_s=36, calm_s=2, per_second=12, warm_up_s=10)

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]


async def test_nothing_is_lost_while_everything_breaks() -> None:
    report = await soak(PLAN)
    document = report.document()
    print(document)
    assert [str(loss) for loss in report.losses] == []
    assert_it_has_seen_something(report)


def assert_it_has_seen_something(report: Report) -> None:
    """A run in which nobody was answered, or nothing broke, shows nothing."""
    assert report.strikes
    assert report.requests > 100
    assert report.ledger["settled"]
    assert report.audit_records > report.requests
    assert report.reloads["good"] and len(report.reloads) > 1
