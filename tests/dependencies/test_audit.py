"""An audit that did not take place is never a good one."""

import json
from typing import Any

import pytest

from tests.dependencies.audit import FINE, FOUND, NOT_AUDITED, verdict

CLEAN: dict[str, Any] = {"name": "a", "version": "1", "vulns": []}
BAD: dict[str, Any] = {"name": "b", "version": "2", "vulns": [{"id": "PYSEC-1", "fix_versions": ["2.1"], "description": ""}]}
SKIPPED: dict[str, Any] = {"name": "c", "skip_reason": "not on the index"}


def told(*entries: dict[str, Any]) -> str:
    return json.dumps({"dependencies": entries, "fixes": []})


@pytest.mark.parametrize(
    ("stdout", "status", "line"),
    [
        (told(CLEAN), FINE, "nothing is known against any of 1 packages"),
        (told(CLEAN, BAD), FOUND, "b 2: PYSEC-1; mended in 2.1"),
        (told(BAD, SKIPPED), FOUND, "1 of 2 packages were not looked at: not on the index"),
        (told(CLEAN, SKIPPED), NOT_AUDITED, "not audited"),
        (told(), NOT_AUDITED, "not audited"),
        ("", NOT_AUDITED, "not audited: the advisory database cannot be asked (no route)"),
        ("[]", NOT_AUDITED, "not audited: the advisory database cannot be asked (no route)"),
        ('{"x": 1}', NOT_AUDITED, "not audited: the advisory database cannot be asked (no route)"),
    ],
)
def test_only_a_look_at_everything_is_an_audit(stdout: str, status: int, line: str) -> None:
    found = verdict(stdout, "Traceback\nno route\n")
    assert found.status == status
    assert line in found.lines


def test_silence_is_no_audit() -> None:
    assert verdict("", "").status == NOT_AUDITED
