"""Budgets through the admin API: how they stand, changes, approvals; the audit trail; usage."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import pytest

from headrace.ext_proc.admin import budgets
from headrace.ext_proc.admin.tokens import Role
from headrace.ext_proc.core.ledger import Charge, Closing
from headrace.ext_proc.core.windows import window_at
from tests.admin.conftest import Api, code_of, problems_of

ADA = {"team": "research", "user": "ada"}
RAISE = {"amount": "12.50", "whom": {"team": "research"}, "reason": "a launch"}


def ms(at: datetime) -> int:
    return int(at.timestamp() * 1000)


async def spend(on: Api, lease: str, who: Mapping[str, str], tokens: int, nano_usd: int = 0) -> None:
    """One settled request, in the counters of the policy and in the ledger."""
    now = ms(on.now)
    charges = [
        Charge(f"user-day:{who['team']}/{who['user']}", "tokens", 10**12, 0, window_at(now, "day", UTC)),
        Charge(f"team-month:{who['team']}", "nano_usd", 10**12, 0, window_at(now, "month", UTC)),
    ]
    await on.store.reserve("default", lease, charges, now_ms=now, ttl_ms=60_000)
    record = {**who, "model": "llama", "input_tokens": str(tokens), "nano_usd": str(nano_usd)}
    closing = Closing(lease, {"tokens": tokens, "nano_usd": nano_usd}, record)
    await on.store.settle_many("default", [closing], now_ms=now)


async def test_budgets_stand_as_they_were_drawn_on(on: Api) -> None:
    await spend(on, "a", ADA, 400, 1_500_000_000)
    found = (await on.get("/budgets", **ADA))["standings"]
    assert [(one["budget"], one["unit"], one["used"], one["limit"], one["remaining"]) for one in found] == [
        ("team-month", "usd", "1.5", "500", "498.5"),
        ("user-day", "tokens", "400", "1000", "600"),
        ("busy", "tokens", "0", "1000", "1000"),
    ]
    assert [one["resets"] for one in found] == ["2026-07-01T00:00:00Z", "2026-06-02T00:00:00Z", None]
    assert [one["whom"] for one in found] == [{"team": "research"}, ADA, {"team": "research"}]


async def test_without_names_everybody_who_drew_on_them_is_shown(on: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    for number, user in enumerate(("ada", "bob")):
        await spend(on, user, {"team": "research", "user": user}, 100 + number)
    found = await on.get("/budgets", budget="user-day")
    assert [(one["whom"]["user"], one["used"]) for one in found["standings"]] == [("ada", "100"), ("bob", "101")]
    assert not found["more"]
    monkeypatch.setattr(budgets, "CALLERS_MAX", 1)
    found = await on.get("/budgets", budget="user-day")
    assert (len(found["standings"]), found["more"]) == (1, True)


async def test_what_everybody_shares_is_shown_before_anybody_drew_on_it(on: Api) -> None:
    shared = "  - {name: all-month, per: [organisation], limit: {requests: 9}, window: month}\n"
    on.policy.write_text(on.policy.read_text().replace("filters:\n", f"{shared}filters:\n"))
    assert [(one["budget"], one["whom"], one["limit"]) for one in (await on.get("/budgets"))["standings"]] == [
        ("all-month", {}, "9")
    ]


async def test_a_budget_the_policy_does_not_have_is_not_found(on: Api) -> None:
    found = await on.client.get("/budgets", params={"budget": "none"}, headers=await on.as_("viewer"))
    assert code_of((found.status_code, found.json())) == (404, "not_found")
    assert code_of(await on.post("/budgets/none/raise", RAISE)) == (404, "not_found")


async def test_a_raise_counts_at_once_until_the_window_ends(on: Api) -> None:
    made = await on.done("/budgets/team-month/raise", RAISE)
    assert (made["state"], made["counts"], made["amount"], made["until"]) == ("in_force", True, "12.5", "2026-07-01T00:00:00Z")
    (standing,) = (await on.get("/budgets", budget="team-month", team="research"))["standings"]
    assert (standing["limit"], standing["policy_limit"]) == ("512.5", "500")
    assert [one["id"] for one in standing["adjustments"]] == [made["id"]]
    on.now = datetime.fromisoformat("2026-07-01T00:00:00Z")
    assert (await on.get("/budgets", budget="team-month", **await _fresh(on)))["standings"][0]["limit"] == "500"


async def _fresh(on: Api) -> dict[str, str]:
    """Tokens of a day have ended; the names of one caller."""
    on.tokens.clear()
    return {"team": "research"}


async def test_a_limit_set_for_everybody(on: Api) -> None:
    await on.done("/budgets/user-day/set", {"amount": "50", "reason": "a slow day"})
    assert {one["limit"] for one in (await on.get("/budgets", budget="user-day", **ADA))["standings"]} == {"50"}


async def test_a_reset_lets_the_window_begin_anew(on: Api) -> None:
    await spend(on, "a", ADA, 990)
    await on.done("/budgets/user-day/reset", {"whom": ADA, "reason": "a loop in their script"})
    (standing,) = (await on.get("/budgets", budget="user-day", **ADA))["standings"]
    assert standing["remaining"] == "1000"


class TestApproval:
    async def test_waits_for_somebody_else(self, on: Api) -> None:
        both = (Role.OPERATOR, Role.APPROVER)
        await on.as_("ada", *both)
        asked = await on.done("/budgets/team-month/raise", {**RAISE, "needs_approval": True}, "ada")
        assert (asked["state"], asked["counts"]) == ("pending", False)
        assert [one["id"] for one in (await on.get("/adjustments", state="pending"))["adjustments"]] == [asked["id"]]
        path = f"/adjustments/{asked['id']}/approve"
        assert code_of(await on.post(path, who="ada")) == (403, "not_yours")
        assert code_of(await on.post(path, who="operator")) == (403, "auth.forbidden")
        approved = await on.done(path, who="approver")
        assert (approved["state"], approved["counts"]) == ("in_force", True)
        assert [(act["what"], act["by"]) for act in approved["history"]] == [("requested", "ada"), ("approved", "approver")]
        assert code_of(await on.post(path, who="approver")) == (409, "conflict")

    async def test_by_another_token_of_the_same_holder_is_refused(self, on: Api) -> None:
        await on.as_("ada", Role.OPERATOR)
        asked = await on.done("/budgets/team-month/raise", {**RAISE, "needs_approval": True}, "ada")
        on.tokens["another of ada's"] = (await on.token(Role.APPROVER, holder="ada")).secret
        answered = await on.post(f"/adjustments/{asked['id']}/approve", who="another of ada's")
        assert code_of(answered) == (403, "not_yours")

    async def test_may_be_refused(self, on: Api) -> None:
        asked = await on.done("/budgets/team-month/raise", {**RAISE, "needs_approval": True})
        assert (await on.done(f"/adjustments/{asked['id']}/reject", who="approver"))["state"] == "rejected"
        assert code_of(await on.post(f"/adjustments/{asked['id']}/approve", who="approver")) == (409, "conflict")

    async def test_of_what_is_not_there(self, on: Api) -> None:
        for what, who in (("approve", "approver"), ("reject", "approver"), ("end", "operator")):
            assert code_of(await on.post(f"/adjustments/none/{what}", who=who)) == (404, "not_found")


async def test_a_change_may_end_before_its_time(on: Api) -> None:
    made = await on.done("/budgets/team-month/raise", RAISE)
    assert (await on.done(f"/adjustments/{made['id']}/end"))["counts"] is False
    assert (await on.get("/budgets", budget="team-month", team="research"))["standings"][0]["limit"] == "500"


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"amount": 12}, "body.amount"),
        ({"amount": "-1"}, "body.amount"),
        ({"amount": "NaN"}, "body.amount"),
        ({"amount": "1e5"}, "body.amount"),
        ({"reason": ""}, "body.reason"),
        ({"reason": "x" * 501}, "body.reason"),
        ({"whom": {"planet": "mars"}}, "body.whom.planet"),
        ({"until": "soon"}, "body.until"),
        ({"by": "somebody"}, "body.by"),
        ({"needs_approval": "no"}, "body.needs_approval"),
    ],
)
async def test_what_is_no_change_is_refused(on: Api, change: dict[str, object], where: str) -> None:
    assert problems_of(await on.post("/budgets/team-month/raise", {**RAISE, **change})) == [where]


@pytest.mark.parametrize(
    ("path", "change"),
    [
        ("team-month/raise", {"whom": {"user": "ada"}}),
        ("team-month/raise", {"until": "2020-01-01T00:00:00Z"}),
        ("user-day/raise", {"whom": ADA, "amount": "1.5"}),
        ("busy/raise", {"amount": "10"}),
    ],
)
async def test_what_a_budget_cannot_do_is_refused(on: Api, path: str, change: dict[str, object]) -> None:
    assert code_of(await on.post(f"/budgets/{path}", {**RAISE, **change})) == (400, "request.invalid")


async def test_the_audit_trail_has_what_was_done_by_whom_the_latest_first(on: Api) -> None:
    steps = timedelta(minutes=1)
    key = await on.done("/keys", {"team": "research"})
    on.now += steps
    await on.done(f"/keys/{key['id']}/revoke")
    on.now += steps
    asked = await on.done("/budgets/team-month/raise", {**RAISE, "needs_approval": True})
    on.now += steps
    await on.done(f"/adjustments/{asked['id']}/approve", who="approver")
    everything = (await on.get("/audit"))["deeds"]
    found = [deed for deed in everything if deed["by"] != "root"]
    assert [(deed["what"], deed["by"], deed["subject"]) for deed in found] == [
        ("budget.approved", "approver", asked["id"]),
        ("budget.requested", "operator", asked["id"]),
        ("key.revoked", "operator", key["id"]),
        ("key.created", "operator", key["id"]),
    ]
    assert (found[0]["about"], found[0]["reason"]) == ("raise team-month 12.5 usd organisation=default team=research", "a launch")
    assert {deed["what"] for deed in everything if deed["by"] == "root"} == {"token.created"}
    assert [deed["what"] for deed in (await on.get("/audit", subject=key["id"], limit=1))["deeds"]] == ["key.revoked"]
    since = {"from": "2026-06-01T12:01:00Z", "to": "2026-06-01T12:02:00Z"}
    deeds = (await on.get("/audit", by="operator", **since))["deeds"]
    assert [deed["what"] for deed in deeds] == ["budget.requested", "key.revoked"]


async def test_usage_is_added_up_as_it_is_asked_for(on: Api) -> None:
    await spend(on, "a", ADA, 100, 1_500_000_001)
    await spend(on, "b", {"team": "sales", "user": "bob"}, 50, 10**9)
    found = await on.get("/usage", by="team")
    assert [(group["names"], group["sums"]["usd"], group["sums"]["input_tokens"]) for group in found["groups"]] == [
        ({"team": "research"}, "1.500000001", 100), ({"team": "sales"}, "1", 50),
    ]  # fmt: skip
    assert (found["total"]["requests"], found["total"]["usd"]) == (2, "2.500000001")
    assert (await on.get("/usage", to="2026-06-01T12:00:00Z"))["groups"] == []
    assert len((await on.get("/usage", to="2026-06-01T12:00:00.001Z", **{"from": "2026-06-01T12:00:00Z"}))["groups"]) == 2


@pytest.mark.parametrize("query", [{"by": "planet"}, {"by": ""}, {"from": "june"}, {"organisation": "{x}"}])
async def test_usage_by_what_is_none_is_refused(on: Api, query: dict[str, str]) -> None:
    found = await on.client.get("/usage", headers=await on.as_("viewer"), params=query)
    assert code_of((found.status_code, found.json())) == (400, "request.invalid")
