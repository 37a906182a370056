"""schemathesis on the API, in this process, from our own document: all that it makes up, and every check that it has.

HEADRACE_LONG=1 makes 50 requests of every operation for every role, others in each run.
"""

import asyncio
import os
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.applications import Starlette

from headrace.ext_proc.admin.app import PREFIX, api
from headrace.ext_proc.admin.below import Below
from headrace.ext_proc.admin.operation import Site
from headrace.ext_proc.admin.operations import OPERATIONS
from headrace.ext_proc.admin.tokens import ROSTER, Role, fresh_token
from headrace.ext_proc.core.principal import is_part
from headrace.ext_proc.stores.memory import MemoryStore
from tests.admin.conftest import POLICY
from tests.filters.identity.support import NOON, PEPPER

LONG = bool(os.environ.get("HEADRACE_LONG"))
EXAMPLES = 50 if LONG else 2
NOBODY, STRANGER = "nobody", "stranger"
EVERYBODY = [*(role.value for role in Role), NOBODY, STRANGER]
MEANT = ("is over; give a time to come", "after the year 9999, UTC", "Input should be a valid integer", "ends before it begins")
"""Refusals of what fits the schema: times past or beyond all calendars, and 1.0, which is an integer to JSON Schema alone."""

schemathesis.openapi.format("headrace-name", st.text(min_size=1, max_size=256).filter(is_part))


async def _told(_: Mapping[str, str]) -> None: ...


async def _enrolled(store: MemoryStore) -> dict[str, str]:
    """The secret of a token of every role; and one that is nobody's."""
    secrets = {STRANGER: fresh_token(STRANGER, list(Role), NOON, NOON + timedelta(days=1), "root").secret}
    for role in Role:
        fresh = fresh_token(role.value, [role], NOON, NOON + timedelta(days=1), "root")
        await store.enrol(ROSTER, fresh.record.id, fresh.record.packed())
        secrets[role.value] = fresh.secret
    return secrets


@pytest.fixture
def served(tmp_path: Path) -> tuple[Starlette, Mapping[str, str]]:
    """The API, and the tokens."""
    (tmp_path / "headrace.pepper").write_text(PEPPER)
    (tmp_path / "policy.yaml").write_text(POLICY)
    store = MemoryStore()
    app = Starlette(routes=[Below(PREFIX, api(Site(store, tmp_path / "policy.yaml", lambda: NOON, _told)))])
    return app, asyncio.run(_enrolled(store))


@pytest.mark.parametrize("who", EVERYBODY)
def test_every_answer_is_one_that_the_document_has(served: tuple[Starlette, Mapping[str, str]], who: str) -> None:
    app, secrets = served
    headers = {"authorization": f"Bearer {secrets[who]}"} if who in secrets else {}
    operations = list(_operations(app))
    assert len(operations) == len(OPERATIONS)
    for operation in operations:
        _asked(operation, who, headers)


def _operations(app: Starlette) -> Iterator[Any]:
    schema = schemathesis.openapi.from_asgi(f"{PREFIX}/openapi.json", app)
    found: Iterator[Any] = schema.get_all_operations()
    return (one.ok() for one in found)


def _asked(operation: Any, who: str, headers: dict[str, str]) -> None:
    """What schemathesis makes up for the operation is asked, and every answer is checked."""

    @given(case=operation.as_strategy())
    @settings(max_examples=EXAMPLES, derandomize=not LONG, deadline=None, suppress_health_check=list(HealthCheck))
    def answered(case: Any) -> None:
        response = case.call(headers=headers)
        excluded = [schemathesis.checks.positive_data_acceptance] if _meant(response) else []
        case.validate_response(response, headers=headers, excluded_checks=excluded)
        assert response.status_code not in (500, 503)
        assert response.status_code in (401, 404) or who not in (NOBODY, STRANGER)

    answered()


def _meant(response: schemathesis.Response) -> bool:
    """Whether it refuses what no schema can say."""
    problems = response.json()["error"].get("problems", []) if response.status_code == 400 else []
    return bool(problems) and all(problem["message"] in MEANT for problem in problems)
