"""Whatever is asked of whatever page by whomever: no defect, nothing of it as markup, and nothing changed that may not be.

The routes are those of the application's own table, the fields those of the forms on its pages. HEADRACE_LONG=1 makes 300
requests of every page and 1,000 of every form, others in each run.
"""

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import MagicMock

import pytest
from hypothesis import HealthCheck, given, settings
from starlette.routing import Route

from headrace.ext_proc.admin.console.app import HEADERS, application
from headrace.ext_proc.admin.console.frame import COOKIE, PREFIX, Console
from headrace.ext_proc.admin.console.pages import PAGES
from headrace.ext_proc.admin.tokens import Role
from tests.admin.conftest import POLICY
from tests.admin.console.browsing import Answered, Asked, Markup, answer_of, ours
from tests.admin.console.conftest import Pages
from tests.admin.console.making import EVERY_ROLE, Made, but_for_one_part, made, right
from tests.admin.console.serving import Served
from tests.filters.identity.support import PEPPER

LONG = bool(os.environ.get("HEADRACE_LONG"))
EXAMPLES = {"GET": 300 if LONG else 15, "POST": 1_000 if LONG else 60}
MOST_BYTES = 1_000_000
"""Of an answer: the largest form, every field shown, most of it escaped, stays below."""
TAGS, ATTRIBUTES = ours()
REFUSALS = {400, 401, 403, 404, 405, 413, 415, 429}


def checked(answer: Answered) -> None:
    """What every answer of the console is, whatever was asked."""
    assert answer.status < 500
    assert HEADERS.items() <= answer.headers.items() and "cache-control" in answer.headers
    assert len(answer.body) <= MOST_BYTES
    assert answer.status != 405 or answer.headers["allow"]
    assert not [value for value in answer.headers.values() if "\r" in value or "\n" in value]
    if "location" in answer.headers:
        assert answer.headers["location"].startswith(f"{PREFIX}/"), answer.headers["location"]
    if answer.headers.get("content-type", "").startswith("text/html"):
        _check_page(Markup(answer.body.decode()))


def _check_page(page: Markup) -> None:
    assert page.tags <= TAGS, page.tags - TAGS
    assert page.attributes <= ATTRIBUTES, page.attributes - ATTRIBUTES
    elsewhere = {address for address in page.addresses if not address.startswith((f"{PREFIX}/", "#", "?"))}
    assert not elsewhere


def _readable(made: Made, answer: Answered) -> None:
    """A refusal says in words what it is about, in a page or in the part that is asked for."""
    if answer.status in REFUSALS and made.method != "HEAD" and "hx-redirect" not in answer.headers:
        page = Markup(answer.body.decode())
        assert answer.headers["content-type"].startswith("text/html")
        assert made.part is not None or any(page.titles), answer.body


# --- the routes, and the forms that lead to them --------------------------------------------------------------------------------


class Target(NamedTuple):
    route: Route
    method: str
    parameters: list[str]

    @property
    def name(self) -> str:
        return f"{self.method} {self.route.path}"


def targets() -> Iterator[Target]:
    guarded: Any = application(MagicMock(spec=Console))
    for route in guarded._app.routes:
        for method in sorted(route.methods - {"HEAD"}):
            yield Target(route, method, list(route.param_convertors))


TARGETS = list(targets())
MODELS = {
    "GET /budgets": ("organisation", "budget", "team", "app", "user", "key", "model", "limit"),
    "GET /budgets/{name}": ("organisation", "team", "app", "user", "key", "model"),
    "GET /decisions": ("who", "model", "verdict", "reason", "exchange", "start", "end", "after"),
    "GET /keys": ("organisation", "state", "team", "user", "limit", "after"),
    "GET /activity": ("by", "subject", "end"),
    "GET /login": ("next",),
}
"""Parameters that links have, and no form."""
PATHS = (
    "/", "/login", "/budgets", "/budgets/user-day?team=a&user=b", "/decisions", "/policy", "/playground", "/keys", "/activity",
)  # fmt: skip


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture
def console(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, runner: asyncio.Runner) -> Iterator[Served]:
    monkeypatch.delenv("HEADRACE_PEPPER", raising=False)
    (tmp_path / "headrace.pepper").write_text(PEPPER)
    (tmp_path / "policy.yaml").write_text(POLICY)
    pages = Pages(tmp_path)
    pages.log.touch()
    made = Served(pages)
    runner.run(made.enrol())
    yield made
    runner.run(pages.revisions.close())


def fields_of(console: Served, runner: asyncio.Runner, target: Target) -> list[str]:
    """The names of the fields of every form that leads to it, on any page that somebody with all roles sees."""
    found = set(MODELS.get(target.name, ()))
    for path in PATHS:
        for method, action, names in _forms(console, runner, path):
            if method == target.method and target.route.path_regex.match(action.removeprefix(PREFIX).partition("?")[0]):
                found |= names
    return sorted(found)


def _forms(console: Served, runner: asyncio.Runner, path: str) -> list[tuple[str, str, set[str]]]:
    where, _, query = path.partition("?")
    cookie = (b"cookie", f"{COOKIE}={console.session(EVERY_ROLE)}".encode())
    answer = runner.run(answer_of(console.app, Asked("GET", where.encode(), query.encode(), [cookie])))
    assert answer.status == 200, path
    return Markup(answer.body.decode()).forms


@pytest.mark.parametrize("target", [one for one in TARGETS if one.method == "POST"], ids=lambda target: target.name)
def test_a_form_that_is_right_but_for_one_part_changes_nothing(console: Served, runner: asyncio.Runner, target: Target) -> None:
    form = right(target.route.path, target.parameters, fields_of(console, runner, target))
    role = next((page.role for page in PAGES if page.path == target.route.path and page.method == "POST"), Role.VIEWER)
    for spoilt in but_for_one_part(form, [one.value for one in Role if Role.VIEWER is not role is not one]):
        answer = runner.run(console.ask(spoilt, target.route))  # which looks at what has changed
        checked(answer)
        assert answer.status in REFUSALS or answer.headers["location"].startswith(f"{PREFIX}/"), spoilt
    assert not console.changes
    assert runner.run(console.ask(form, target.route)).status < 400
    assert console.changes == (role is not Role.VIEWER)


@pytest.mark.timeout(3600 if LONG else 120)
@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_whatever_is_asked_the_answer_is_one_that_a_person_can_read(
    console: Served, runner: asyncio.Runner, target: Target
) -> None:
    names = fields_of(console, runner, target)
    assert names or target.method == "GET", "no form leads here"

    @given(made(target.route.path, target.method, target.parameters, names))
    @settings(
        max_examples=EXAMPLES[target.method],
        derandomize=not LONG,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    def answered(made: Made) -> None:
        answer = runner.run(console.ask(made, target.route))
        checked(answer)
        _readable(made, answer)

    answered()
    assert min(console.met) < 400, console.met
    assert console.changes or not any(page.role is not Role.VIEWER for page in PAGES if page.path == target.route.path)
