"""What operators do through the admin API is in the audit log."""

from pathlib import Path

import pytest

from headrace.ext_proc.audit.deeds import Deeds
from headrace.ext_proc.audit.reading import entries
from headrace.ext_proc.audit.verifying import problems_of, verified
from tests.admin.conftest import POLICY
from tests.audit.logs import Ticking

AUDITED = f"{POLICY}audit: {{directory: audit}}\n"


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    path = tmp_path / "policy.yaml"
    path.write_text(AUDITED)
    return path


def write(path: Path, text: str) -> None:
    path.write_text(text)


DEED = {"operation": "raiseBudget", "holder": "rita", "token": "tok1", "path": "/api/v1/budgets/team-month/raise"}


async def test_a_deed_is_recorded_with_who_did_it(policy: Path) -> None:
    deeds = Deeds(policy, Ticking().now_ms)
    await deeds(DEED)
    await deeds(DEED)
    await deeds.close()
    found = list(entries(policy.parent / "audit"))
    assert [entry.line.kind for entry in found] == ["admin", "admin", "closed"]
    assert found[0].line.record == DEED
    assert "-admin-" in found[0].chain
    assert problems_of(verified(policy.parent / "audit")) == []


async def test_without_an_audit_log_nothing_is_written(policy: Path) -> None:
    write(policy, POLICY)
    deeds = Deeds(policy, Ticking().now_ms)
    await deeds(DEED)
    await deeds.close()
    assert list(policy.parent.iterdir()) == [policy]


async def test_a_log_that_was_moved_is_followed(policy: Path) -> None:
    deeds = Deeds(policy, Ticking().now_ms)
    await deeds(DEED)
    write(policy, AUDITED.replace("directory: audit", "directory: elsewhere"))
    await deeds(DEED)
    await deeds.close()
    assert len(list(entries(policy.parent / "elsewhere"))) == 2
    assert verified(policy.parent / "audit").notes == []


async def test_a_log_that_cannot_be_written_is_said_in_the_service_s_log(policy: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(policy.parent / "audit", "in the way")
    deeds = Deeds(policy, Ticking().now_ms)
    await deeds(DEED)
    await deeds.close()
    assert [record.message for record in caplog.records] == ["a deed is not in the audit log"]
