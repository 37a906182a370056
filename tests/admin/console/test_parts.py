"""What the pages are made of: growth of counts, revisions of the policy, and the workshop."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from headrace.ext_proc.admin.console import workshop as workshops
from headrace.ext_proc.admin.console.bench import Bench
from headrace.ext_proc.admin.console.charts import HEIGHT, WIDTH, bars
from headrace.ext_proc.admin.console.counts import Counts, Growth
from headrace.ext_proc.admin.console.rendering import HTMX, money, seconds, short
from headrace.ext_proc.admin.console.revisions import Revision, Revisions
from headrace.ext_proc.admin.console.workshop import Workshop, WorkshopFailed
from headrace.ext_proc.core.roster import Listed
from headrace.ext_proc.engine.policy.compile import revision_of
from headrace.ext_proc.stores.memory import MemoryStore
from headrace.ext_proc.telemetry.exposition import Key

IDENTITY = "[{headers: {team: x-team, user: x-user}}]"
NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
STATIC = Path(workshops.__file__).parent / "static"


def requests(passed: float) -> dict[Key, float]:
    return {("headrace_requests_total", (("endpoint", "chat"), ("outcome", "completed"), ("reason", ""))): passed}


def test_steps_add_up_to_the_whole() -> None:
    now, passed = NOON, 0.0

    counts = Counts(lambda: requests(passed), lambda: now)
    for number in range(120):
        counts.read()
        now, passed = now + timedelta(seconds=5), passed + number
    whole = counts.growth(300)
    assert whole.total == sum(step.total for step in counts.steps(300, 60)) == sum(range(59, 119))
    assert whole.minutes == 5


def test_before_the_first_reading_nothing_grew() -> None:
    counts = Counts(lambda: requests(7), lambda: NOON)
    assert (counts.growth(300).total, counts.steps(300, 60)) == (0, ())
    counts.read()
    assert counts.growth(300).total == 0


def test_a_quantile_lies_within_its_bucket() -> None:
    growth = Growth(NOON, NOON, added={0.001: 50, 0.01: 100, float("inf"): 100})
    assert growth.quantile(0.5) == pytest.approx(0.001)
    assert growth.quantile(0.75) == pytest.approx(0.0055)
    assert Growth(NOON, NOON, added={0.001: 0, float("inf"): 4}).quantile(0.5) == 0.001
    assert Growth(NOON, NOON).quantile(0.5) is None


def test_columns_stay_in_their_picture() -> None:
    drawn = bars([(0, 0, ""), (5, 5, ""), (1, 0, "")])
    assert all(bar.x >= 0 and bar.x + bar.width <= WIDTH and bar.passed + bar.refused <= HEIGHT for bar in drawn)
    assert drawn[1].passed + drawn[1].refused == HEIGHT - 4


def test_numbers_are_short_and_money_keeps_the_digits_that_count() -> None:
    assert [short(one) for one in (0, 7, 1234, 12_345, 4_500_000)] == ["0", "7", "1,234", "12.3k", "4.5M"]
    assert [money(one) for one in ("0", "0.0000352", "0.9996", "12.4", "1234.5")] == [
        "$0.00",
        "$0.0000352",
        "$1",
        "$12.40",
        "$1,234.50",
    ]
    assert [seconds(one) for one in (0.00082, 0.0041, 1.25)] == ["820 µs", "4.1 ms", "1.25 s"]


def test_htmx_is_the_file_that_was_released() -> None:
    assert sha256((STATIC / HTMX).read_bytes()).hexdigest() in (STATIC / "README.md").read_text()


# --- revisions -----------------------------------------------------------------------------------------------------------


def write(path: Path, tokens: int) -> str:
    """A policy; its revision."""
    budget = f"{{name: day, per: [team], limit: {{tokens: {tokens}}}, window: day}}"
    path.write_text(f"version: 1\nidentity: {IDENTITY}\nbudgets: [{budget}]\nfilters: [identity: {{}}, budget: {{}}]\n")
    return revision_of(path.read_bytes(), [])


async def told(store: MemoryStore, path: Path, revision: str) -> list[Revision]:
    """What a service's history has after it was told, whichever service it is."""
    revisions = Revisions(store, path)
    revisions.tell(revision, 1000, ())
    assert revisions._telling is not None
    await revisions._telling
    return list(await revisions.all())


async def test_each_revision_says_what_it_changed_and_is_told_once(tmp_path: Path) -> None:
    store, path = MemoryStore(), tmp_path / "policy.yaml"
    first = write(path, 1000)
    await told(store, path, first)
    await told(store, path, first)
    second = write(path, 2000)
    await told(store, path, second)
    await told(store, path, write(path, 1000))
    found = await told(store, path, first)
    assert [one.revision for one in found] == [first, second, first]
    assert "1000" in found[1].changes[0]
    assert "2000" in found[1].changes[0]
    assert (found[2].changes, found[2].unknown) == ([], False)


class CountingStore(MemoryStore):
    """Counts the records that were read."""

    def __init__(self) -> None:
        super().__init__()
        self.read_records = 0

    async def listed_since(self, roster: str, revision: int, *, limit: int = 1000) -> Sequence[Listed]:
        found = await super().listed_since(roster, revision, limit=limit)
        self.read_records += len(found)
        return found


async def tell(revisions: Revisions, path: Path, limit: int) -> None:
    revisions.tell(write(path, limit), 1000, ())
    assert revisions._telling is not None
    await revisions._telling


async def test_what_was_read_of_a_long_history_is_not_read_again(tmp_path: Path) -> None:
    store, path = CountingStore(), tmp_path / "policy.yaml"
    revisions, other = Revisions(store, path), Revisions(store, path)
    for limit in range(1000, 1040, 2):
        await tell(revisions, path, limit)
        await tell(other, path, limit + 1)
    assert store.read_records < 2 * 40
    assert [one.number for one in await revisions.all()] == list(range(40, 0, -1))


async def test_a_history_that_the_store_has_lost_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    revisions = Revisions(MemoryStore(), path)
    await tell(revisions, path, 1000)
    await tell(revisions, path, 1001)
    revisions._store = MemoryStore()
    await tell(revisions, path, 1002)
    await tell(Revisions(revisions._store, path), path, 1003)
    await tell(revisions, path, 1004)
    assert [one.number for one in await revisions.all()] == [4, 3, 2]


async def test_of_a_file_that_has_gone_on_meanwhile_nothing_is_made_up(tmp_path: Path) -> None:
    store, path = MemoryStore(), tmp_path / "policy.yaml"
    write(path, 1000)
    (found,) = await told(store, path, "0123456789ab")
    assert (found.unknown, found.text) == (True, "")


# --- the workshop ----------------------------------------------------------------------------------------------------------


def job(path: Path, body: str, **members: object) -> dict[str, object]:
    return {
        "policy": str(path),
        "gateway": "envoy",
        "path": "/v1/chat/completions",
        "headers": [],
        "body": body,
        "who": {},
        **members,
    }


async def test_modules_in_the_current_directory_are_not_those_of_the_bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "asyncio.py").write_text("raise SystemExit('of the current directory')")
    (tmp_path / "policy.yaml").write_text("version: 1\nmodels: [{name: m}]\nfilters: [usage: {}]\n")
    monkeypatch.chdir(tmp_path)
    workshop = Workshop()
    try:
        assert "refused" in (await workshop.ask(job(tmp_path / "policy.yaml", "no JSON")))["document"]
    finally:
        await workshop.close()


async def test_a_request_is_tried_and_what_is_personal_is_marked(tmp_path: Path) -> None:
    path, workshop = tmp_path / "policy.yaml", Workshop()
    filters = "[identity: {}, pii: {model: none, request: replace}]"
    path.write_text(f"version: 1\nidentity: {IDENTITY}\nmodels: [{{name: m}}]\nfilters: {filters}\n")
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": "I am ada@example.com, <b>"}]})
    try:
        answer = await workshop.ask(job(path, body, who={"team": "research"}))
        assert answer["texts"] == [
            {"place": "messages[0].content", "pieces": [["I am ", ""], ["ada@example.com", "EMAIL_ADDRESS"], [", <b>", ""]]}
        ]
        assert answer["document"]["principal"]["team"] == "research"
        unread = await workshop.ask(job(path, "no JSON", who={"team": "research"}))
        assert unread["document"]["refused"]["status"] == 400
        assert (unread["texts"], unread["unsearched"]) == ([], "the body is not JSON")
        path.write_text(f"version: 1\nidentity: {IDENTITY}\nmodels: [{{name: m}}]\nfilters: [identity: {{}}]\n")
        assert (await workshop.ask(job(path, body)))["unsearched"] == "the policy has no filter pii"
        path.write_text("version: 1\nfilters: [nothing: {}]\n")
        assert "nothing" in (await workshop.ask(job(path, body)))["problems"][0]
    finally:
        await workshop.close()


def test_every_request_that_is_tried_begins_with_empty_counters(tmp_path: Path) -> None:
    path, bench = tmp_path / "policy.yaml", Bench()
    path.write_text(
        f"version: 1\nidentity: {IDENTITY}\nmodels: [{{name: m}}]\nfilters: [identity: {{}}, budget: {{}}]\n"
        "budgets: [{name: day, per: [team], limit: {tokens: 100}, window: day}]\n"
    )

    def tried(cap: int) -> Any:
        body = json.dumps({"model": "m", "max_tokens": cap, "messages": [{"role": "user", "content": "hi"}]})
        return bench.do(job(path, body, who={"team": "research"}))["document"]

    first = tried(60)
    assert "sent" in first
    [reserved] = [step["note"] for step in first["filters"] if step["filter"] == "budget"]
    assert reserved in [step.get("note") for step in tried(60)["filters"]]
    assert tried(200)["refused"]["code"] == "budget.exhausted"


async def test_a_job_that_takes_too_long_ends_and_the_next_one_is_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, workshop = tmp_path / "policy.yaml", Workshop()
    write(path, 1000)
    monkeypatch.setattr(workshops, "JOB_S", 0.0)
    with pytest.raises(WorkshopFailed, match="longer than"):
        await workshop.ask(job(path, "{}"))
    monkeypatch.undo()
    try:
        assert "document" in await workshop.ask(job(path, "{}"))
    finally:
        await workshop.close()


async def test_others_are_turned_away_rather_than_piled_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workshops, "MOST_WAITING", 0)
    with pytest.raises(WorkshopFailed, match="Others are trying"):
        await Workshop().ask({})
