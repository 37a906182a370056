"""What the pages show and do, by role, without a browser."""

from datetime import UTC, datetime, timedelta

import pytest

from headrace.ext_proc.admin.console.frame import WorkerState
from headrace.ext_proc.admin.policies import budgets_of
from headrace.ext_proc.admin.tokens import Role
from headrace.ext_proc.core.principal import Principal
from headrace.ext_proc.engine.load.board import Heard
from tests.admin.console.conftest import Pages, decision

HOSTILE = "<script>alert(1)</script>"
DAY = {"team": "research", "user": "ann", "organisation": "default"}


async def test_numbers_are_what_was_counted_since_the_reading_before(pages: Pages) -> None:
    await pages.log_in(Role.VIEWER)
    count(pages, passed=10, refused=2)
    pages.counts.read()
    pages.now += timedelta(seconds=60)
    count(pages, passed=110, refused=22)
    pages.counts.read()
    page = (await pages.get("/?span=5m")).text
    assert '<p class="big">120</p><p class="quiet">120 a minute</p>' in page
    assert '<p class="big">20</p><p class="quiet">16.7% of requests</p>' in page
    assert "budget.exhausted" in page


def count(pages: Pages, passed: int, refused: int) -> None:
    labels = (("endpoint", "chat"), ("outcome", "handed_off"), ("reason", ""))
    pages.counted["headrace_requests_total", labels] = passed
    labels = (("endpoint", "chat"), ("outcome", "refused"), ("reason", "budget.exhausted"))
    pages.counted["headrace_requests_total", labels] = refused


async def test_the_load_of_model_servers_is_as_they_were_heard_last(pages: Pages) -> None:
    await pages.log_in(Role.VIEWER)
    silent, busy = Heard(0, 0, None, 1, stale=True), Heard(3, 7, 0.42, 1000, stale=False)
    pages.around.heard = {"10.0.0.1:8000": busy, "<b>": None, "10.0.0.2:8000": silent}
    page = (await pages.get("/")).text
    assert all(said in page for said in ("42% in use", "never heard of", "&lt;b&gt;", "silent", "not said"))


async def test_empty_states_say_what_to_do(pages: Pages) -> None:
    await pages.log_in(Role.VIEWER)
    assert "No request in this time." in (await pages.get("/")).text
    assert "The log has no decision yet." in (await pages.get("/decisions")).text
    assert "Nobody has drawn on a budget" in (await pages.get("/budgets")).text
    assert "The store has no key like this." in (await pages.get("/keys")).text
    assert "No candidate is tried." in (await pages.get("/policy")).text
    pages.around.decisions = None
    assert "--decisions FILE" in (await pages.get("/decisions")).text
    assert "--decisions FILE" in (await pages.get("/")).text


async def test_a_log_that_cannot_be_read_is_an_error_of_its_page_alone(pages: Pages) -> None:
    await pages.log_in(Role.VIEWER)
    pages.log.unlink()
    page = await pages.get("/decisions")
    assert (page.status_code, "no such file" in page.text) == (503, True)
    assert (await pages.get("/")).status_code == 200
    assert (await pages.get("/policy")).status_code == 200


async def test_where_a_part_of_a_page_fails_that_part_says_so_and_goes_on(pages: Pages) -> None:
    await pages.log_in(Role.VIEWER)
    await pages.store.close()
    page = await pages.get("/live", hx_request="true", hx_target="live")
    assert page.status_code == 503
    assert 'id="live" hx-get="/console/live"' in page.text
    assert "<html" not in page.text


async def test_decisions_are_found_by_what_they_are_and_all_there_is_of_one_is_shown(pages: Pages) -> None:
    await pages.log_in(Role.VIEWER)
    pages.decided(
        decision("hx1", reason="budget.exhausted", outcome="refused"), decision("hx2", principal={"team": "support"}),
        {"time": "2026-11-20T12:00:01+00:00", "kind": "settlement", "exchange": "hx2", "route": "standard", "status": 200,
         "usd": "0.0123", "usage": {"input_tokens": 1200, "output_tokens": 34}, "outcome": "settled", "duration_ms": 1250.0},
    )  # fmt: skip
    assert await exchanges(pages, "verdict=refused") == ["hx1"]
    assert await exchanges(pages, "who=SUPP") == ["hx2"]
    assert await exchanges(pages, "who=&model=&verdict=&reason=&start=&end=&exchange=") == ["hx2", "hx1"]
    assert await exchanges(pages, "end=2026-11-20T11:59") == []
    page = (await pages.get("/decisions/hx2")).text
    assert [said for said in ("$0.0123", "1,200 in, 34 out", "1.25 s", "auth.key", "support") if said not in page] == []
    assert (await pages.get("/decisions?exchange=hx2")).headers["location"] == "/console/decisions/hx2"
    assert (await pages.get("/decisions/hx3")).status_code == 404


async def exchanges(pages: Pages, query: str) -> list[str]:
    page = (await pages.get(f"/decisions?{query}")).text
    return [part.partition('"')[0] for part in page.split('href="/console/decisions/')[1:]]


@pytest.mark.parametrize("query", ["verdict=all", "start=yesterday", "nothing=1", f"who={'x' * 300}", "after=%00"])
async def test_a_search_that_is_none_is_a_page_that_says_so(pages: Pages, query: str) -> None:
    await pages.log_in(Role.VIEWER)
    assert (await pages.get(f"/decisions?{query}")).status_code in (200, 400)


async def test_what_callers_say_is_text_wherever_it_stands(pages: Pages) -> None:
    await pages.log_in(Role.VIEWER, Role.OPERATOR, holder=HOSTILE)
    step = {"filter": HOSTILE, "phase": HOSTILE, "outcome": HOSTILE, "reason": HOSTILE, "us": 1, "error": HOSTILE,
            "note": {HOSTILE: [HOSTILE, {HOSTILE: HOSTILE}], "candidates": [{"upstream": HOSTILE, "why": HOSTILE}]}}  # fmt: skip
    members = {"model": HOSTILE, "path": HOSTILE, "reason": HOSTILE, "principal": {HOSTILE: HOSTILE, "team": HOSTILE}}
    steps = [step, {**step, "filter": "routing"}]
    pages.decided(decision("hx1", **members, steps=steps, metadata={"route": HOSTILE, "reason": HOSTILE}))
    pages.decided({**decision("hx1"), "kind": "candidate", "candidate": HOSTILE, "changes": [HOSTILE], "outcome": "different"})
    pages.decided({**decision("hx1"), "kind": "settlement", "route": HOSTILE})
    pages.around.states = [WorkerState(0, ready=True, restarts=0, revision=HOSTILE, problems=(HOSTILE,))]
    for path in ("/", "/decisions", "/decisions/hx1", "/policy", f"/decisions?who={HOSTILE}", f"/keys?team={HOSTILE}"):
        page = await pages.get(path)
        assert page.status_code == 200
        assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page.text
        assert "<script>" not in page.text


async def test_a_viewer_sees_no_forms_and_may_send_none(pages: Pages) -> None:
    await pages.log_in(Role.VIEWER)
    page = (await pages.get("/budgets/user-day?team=research&user=ann")).text
    assert "Raise the limit" not in page
    assert "for operators and approvers" in (await pages.get("/policy")).text
    for path in ("/budgets/user-day/raise", "/adjustments/adj_1/approve", "/adjustments/adj_1/end"):
        answer = await pages.post(path, amount="1", reason="x")
        assert answer.status_code == 403, path
        assert "This is for the role" in answer.text


async def test_an_operator_raises_a_budget_and_a_second_person_approves(pages: Pages) -> None:
    await pages.log_in(Role.OPERATOR, Role.APPROVER, holder="ada")
    asked = await pages.post("/budgets/user-day/raise", amount="500", reason="launch", needs_approval="true", **DAY)
    assert asked.status_code == 303
    page = (await pages.get("/budgets")).text
    assert "waits for somebody else" in page
    assert "somebody else decides" in page
    (adjustment,) = [part.partition("/")[0] for part in (await pending_of(pages)).split("/adjustments/")[1:2]]
    pages.client.cookies.clear()
    await pages.log_in(Role.APPROVER, holder="rita")
    assert (await pages.post(f"/adjustments/{adjustment}/end")).status_code == 403
    await pages.post(f"/adjustments/{adjustment}/approve")
    page = (await pages.get("/budgets?team=research&user=ann")).text
    assert "The raise of user-day is in force." in page
    assert "of 1,500 tokens" in page
    assert "approved by rita" in page


async def pending_of(pages: Pages) -> str:
    """The list as somebody sees it who may decide."""
    async with pages.browser() as other:
        mine, pages.client = pages.client, other
        await pages.log_in(Role.APPROVER, holder="somebody")
        page = await pages.get("/budgets")
        pages.client = mine
    return page.text


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"amount": "many", "reason": "x"}, "an amount, such as 12.50"),
        ({"amount": "1.5", "reason": "x"}, "is not a whole number"),
        ({"amount": "1"}, "say why"),
        ({"amount": "1", "reason": "x", "until": "2001-01-01T00:00"}, "give a later time"),
    ],
)
async def test_a_change_that_cannot_be_made_is_told_on_the_page(pages: Pages, fields: dict[str, str], said: str) -> None:
    await pages.log_in(Role.OPERATOR)
    answer = await pages.post("/budgets/user-day/raise", **fields, **DAY)
    page = (await pages.get(answer.headers["location"].removeprefix("/console"))).text
    assert 'role="alert"' in page
    assert said in page


async def test_what_is_used_at_this_pace_is_projected(pages: Pages) -> None:
    await pages.log_in(Role.VIEWER)
    now_ms = int(pages.now.timestamp() * 1000)
    (limit,) = (one for one in budgets_of(pages.policy) if one.name == "user-day")
    slot = limit.slot(Principal(team="research", user="ann"), "", now_ms // 60_000)
    await pages.store.reserve("default", "lease", [slot.charge({"tokens": 800})], now_ms=now_ms, ttl_ms=60_000)
    page = (await pages.get("/budgets/user-day?team=research&user=ann")).text
    assert "200 tokens" in page
    passed = now_ms - slot.window.start_ms  # type: ignore[union-attr]  # a day is a window that ends
    empty = datetime.fromtimestamp((slot.window.start_ms + passed * 1000 / 800) / 1000, UTC)  # type: ignore[union-attr]
    assert f"used up {empty:%-d %b, %H:%M}" in page


async def test_a_budget_that_nobody_knows_is_not_found(pages: Pages) -> None:
    await pages.log_in(Role.VIEWER)
    assert (await pages.get("/budgets/nothing")).status_code == 404
    assert (await pages.get("/budgets/user-day")).status_code == 404


async def test_the_refused_policy_and_the_history_are_told(pages: Pages) -> None:
    await pages.log_in(Role.OPERATOR)
    pages.around.states = [WorkerState(0, True, 0, "0123456789ab", 1, ("policy.yaml:3: models: it's wrong",))]
    page = (await pages.get("/policy")).text
    assert "models: it&#39;s wrong" in page
    assert "user-day, per" in page
