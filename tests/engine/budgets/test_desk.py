"""What operators do about budgets, and that workers go by it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.ext_proc.core.ledger import AMOUNT_MAX, Admitted, Exhausted
from headrace.ext_proc.core.principal import Principal
from headrace.ext_proc.core.roster import Listed
from headrace.ext_proc.engine.budgets.adjustments import (
    ROSTER,
    Adjustment,
    Adjustments,
    Event,
    FollowedAdjustments,
    followed,
    limit_of,
    packed,
    unpacked,
)
from headrace.ext_proc.engine.budgets.callers import callers
from headrace.ext_proc.engine.budgets.desk import Change, Desk, DeskError
from headrace.ext_proc.engine.budgets.limits import MINUTE_MS, limits_of
from headrace.ext_proc.engine.following import LATE_MS, LOOK_MS
from headrace.ext_proc.stores.memory import MemoryStore
from tests.filters.compiled import NOON_MS, ManualClock, compiled
from tests.stores.closing import settle
from tests.stores.rollback import remembered

POLICY = """
version: 1
models: [{name: m, price: {input: 1, output: 1}}]
identity: [{headers: {team: x-team, user: x-user}}]
budgets:
  - {name: team-day, per: [team], limit: {tokens: 1000}, window: day, warn_at: [0.5]}
  - {name: user-hour, per: [team, user], limit: {usd: 2}, window: hour}
  - {name: all, per: [organisation], limit: {requests: 10}, window: day}
  - {name: sliding, per: [team], limit: {requests: 5}, window: {sliding: 60}}
  - {name: running, per: [team], limit: {concurrency: 3}}
filters: [identity: {}, budget: {}]
"""
DAY_END = NOON_MS + 12 * 3_600_000
BLUE = {"team": "blue"}


@dataclass
class Office:
    desk: Desk
    store: MemoryStore
    clock: ManualClock
    adjustments: FollowedAdjustments

    async def draw(self, lease: str, tokens: int, team: str = "blue") -> Admitted | Exhausted:
        """As a worker does."""
        limit = next(limit for limit in self.desk._limits if limit.name == "team-day")
        await self.adjustments.fresh()
        slot = limit.slot(Principal(team=team), "m", self.clock.now // MINUTE_MS)
        (charge,) = self.adjustments.charges("default", [slot], {"tokens": tokens}, self.clock.now)
        return await self.store.reserve("default", lease, [charge], now_ms=self.clock.now, ttl_ms=60_000)

    async def standing(self, budget: str = "team-day", whom: Mapping[str, str] = BLUE) -> tuple[int, int]:
        (found,) = await self.desk.show("default", [whom], budget)
        return found.used, found.limit


@pytest.fixture
def office(tmp_path: Path) -> Office:
    clock, store = ManualClock(), MemoryStore()
    document = compiled(tmp_path, POLICY).document
    return Office(Desk(limits_of(document, lambda *_: None), store, clock), store, clock, followed(store, clock))


def raised(amount: str = "500", **given: object) -> Change:
    members = {"kind": "raise", "budget": "team-day", "by": "ann", "amount": amount, "whom": BLUE} | given
    return Change(**members)  # type: ignore[arg-type]


async def test_a_raise_counts_for_whom_it_is_and_ends_with_the_window(office: Office) -> None:
    assert isinstance(await office.draw("one", 900), Admitted)
    assert isinstance(await office.draw("two", 200), Exhausted)
    made = await office.desk.request(raised(reason="launch"))
    assert (made.until_ms, made.state, made.amount) == (DAY_END, "in_force", 500)
    office.clock.now += LATE_MS
    assert await office.draw("two", 200) == Admitted((400,))
    assert await office.draw("red", 1001, team="red") == Exhausted(0, (1000,), DAY_END)
    office.clock.now = DAY_END
    assert isinstance(await office.draw("next day", 1001), Exhausted)


@pytest.mark.parametrize("lost", [1, 2])
async def test_what_is_changed_after_the_store_lost_its_last_writes_counts(office: Office, lost: int) -> None:
    await office.desk.request(raised("100"))
    roll_back = await remembered(office.store, ROSTER)
    for _ in range(lost):
        await office.desk.request(raised("100", whom=None))
    assert await office.draw("before", 1000) == Admitted((100 + 100 * lost,))
    await roll_back()
    office.clock.now += LATE_MS
    assert await office.draw("meanwhile", 1) == Admitted((99,))
    await office.desk.request(raised("7"))
    office.clock.now += LATE_MS
    assert await office.draw("after", 1) == Admitted((105,))


@pytest.mark.parametrize("made_since", [1, 2, 3])
async def test_a_worker_that_hears_late_of_the_loss_goes_by_what_is_there(office: Office, made_since: int) -> None:
    roll_back = await remembered(office.store, ROSTER)
    for _ in range(2):
        await office.desk.request(raised("100"))
    assert await office.draw("before", 1200) == Admitted((0,))
    await roll_back()
    for _ in range(made_since):
        await office.desk.request(raised("300"))
    office.clock.now += LATE_MS
    assert await office.draw("after", 1) == Admitted((300 * made_since - 201,))


async def test_a_worker_that_is_asked_often_knows_of_a_raise_soon(office: Office) -> None:
    await office.draw("one", 1000)
    await office.desk.request(raised())
    answers = []
    for number in range(5):
        office.clock.now += LOOK_MS // 2
        answers.append(isinstance(await office.draw(f"{number}", 1), Admitted))
    assert answers[0] is False
    assert answers[-1] is True


async def test_every_counter_of_a_budget_may_be_raised(office: Office) -> None:
    await office.desk.request(raised(whom=None))
    assert await office.draw("blue", 1500) == Admitted((0,))
    assert await office.draw("red", 1500, team="red") == Admitted((0,))


async def test_a_limit_that_is_set_stands_in_place_of_the_policys_and_raises_add_to_it(office: Office) -> None:
    await office.desk.request(raised("100", kind="set"))
    assert await office.standing() == (0, 100)
    await office.desk.request(raised("50"))
    office.clock.now += 1
    await office.desk.request(raised("200", kind="set"))
    assert await office.standing() == (0, 250)


async def test_a_reset_gives_back_what_was_used_and_no_more_when_it_is_done_again(office: Office) -> None:
    await office.draw("one", 900)
    made = await office.desk.request(raised("0", kind="reset"))
    assert (made.amount, made.until_ms) == (900, DAY_END)
    assert await office.standing() == (900, 1900)
    office.clock.now += LATE_MS
    await office.draw("two", 1000)
    await office.desk.request(raised("0", kind="reset"))
    assert await office.standing() == (1900, 2900)


async def test_a_reset_gives_the_whole_limit_and_what_running_requests_leave_unused(office: Office) -> None:
    await office.draw("running", 900)
    await office.desk.request(raised("0", kind="reset"))
    assert await office.standing() == (900, 1900)
    assert await settle(office.store, "default", "running", {"tokens": 10}, now_ms=office.clock.now)
    assert await office.standing() == (10, 1900)


async def test_thresholds_stay_the_same_share_of_a_raised_limit(office: Office) -> None:
    limit = next(limit for limit in office.desk._limits if limit.name == "team-day")
    slot = limit.slot(Principal(team="blue"), "m", NOON_MS // MINUTE_MS)
    assert slot.charge({"tokens": 1}).warn == (500,)
    assert slot.charge({"tokens": 1}, 3001).warn == (1501,)
    assert slot.charge({"tokens": 1}, 0).warn == ()


async def test_what_needs_approval_waits_for_somebody_else(office: Office) -> None:
    asked = await office.desk.request(raised(needs_approval=True))
    assert (asked.state, await office.standing()) == ("pending", (0, 1000))
    with pytest.raises(DeskError, match="somebody else must decide it") as refused:
        await office.desk.approve(asked.id, "ann")
    assert refused.value.code == "not_yours"
    office.clock.now += 1000
    approved = await office.desk.approve(asked.id, "bob")
    assert await office.standing() == (0, 1500)
    assert [(event.what, event.by) for event in approved.history] == [("requested", "ann"), ("approved", "bob")]
    with pytest.raises(DeskError, match="in force already"):
        await office.desk.approve(asked.id, "eve")


async def test_a_reset_that_is_approved_later_counts_what_was_used_by_then(office: Office) -> None:
    asked = await office.desk.request(raised("0", kind="reset", needs_approval=True))
    await office.draw("one", 700)
    assert (await office.desk.approve(asked.id, "bob")).amount == 700


async def test_what_is_rejected_or_ended_does_not_count(office: Office) -> None:
    asked = await office.desk.request(raised(needs_approval=True))
    await office.desk.reject(asked.id, "bob")
    made = await office.desk.request(raised("7"))
    assert await office.standing() == (0, 1007)
    await office.desk.end(made.id, "bob")
    assert await office.standing() == (0, 1000)
    with pytest.raises(DeskError, match="is not in force"):
        await office.desk.end(made.id, "bob")
    assert {one.state for one in await office.desk.adjustments("default")} == {"rejected", "ended"}
    assert await office.desk.adjustments("elsewhere") == []


async def test_an_approval_that_comes_too_late_is_refused(office: Office) -> None:
    asked = await office.desk.request(raised(needs_approval=True))
    office.clock.now = DAY_END
    with pytest.raises(DeskError, match="has passed"):
        await office.desk.approve(asked.id, "bob")


async def test_of_two_who_decide_at_once_one_is_told(office: Office) -> None:
    asked = await office.desk.request(raised(needs_approval=True))
    revision = (await office.store.listed(ROSTER, asked.id) or Listed("", b"", 0)).revision
    await office.desk.approve(asked.id, "bob")
    with pytest.raises(DeskError, match="somebody else has just decided"):
        await office.desk._kept(asked, revision)


WRONG = [
    (raised(budget="nope"), "unknown_budget", "there is team-day, user-hour, all, sliding, running"),
    (raised("-1"), "invalid", "'-1' is not a whole number of tokens"),
    (raised("1.5"), "invalid", "'1.5' is not a whole number of tokens"),
    (raised("9" * 30), "invalid", "is not a whole number of tokens"),
    (raised("NaN"), "invalid", "'NaN' is not"),
    (raised("x"), "invalid", "'x' is not"),
    (raised("0"), "invalid", "a raise needs an amount"),
    (raised(by=" "), "invalid", "who does it must be named"),
    (raised(reason="x" * 501), "invalid", "a reason has at most 500"),
    (raised(whom={"user": "ann"}), "invalid", "counts per team; name team=…"),
    (raised(whom={"team": "{x}"}), "invalid", "'{x}' cannot be a name"),
    (raised(until_ms=NOON_MS), "invalid", "it would have ended before it began"),
    (raised(until_ms=253_402_300_800_000), "invalid", "it would end after the year 9999, UTC"),
    (raised(budget="sliding"), "invalid", "has no window that ends; say until when"),
    (raised("0", budget="sliding", kind="reset", until_ms=DAY_END), "invalid", "leaves it by itself; raise it instead"),
    (raised("0", kind="reset", whom=None), "invalid", "a reset is of one counter; name whose: team=…"),
    (raised("1", budget="user-hour"), "invalid", "counts per team, user; name team=…, user=…"),
    (raised("0.0000000001", budget="user-hour", whom={"team": "a", "user": "b"}), "invalid", "is not an amount in USD"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "code", "says"), WRONG, ids=[says for *_, says in WRONG])
async def test_what_cannot_be_done_is_said(office: Office, change: Change, code: str, says: str) -> None:
    with pytest.raises(DeskError) as raises:
        await office.desk.request(change)
    assert raises.value.code == code
    assert says in str(raises.value)
    assert await office.desk.adjustments() == []


async def test_money_is_given_in_dollars(office: Office) -> None:
    whom = {"team": "blue", "user": "ann"}
    await office.desk.request(raised("0.5", budget="user-hour", whom=whom))
    assert await office.standing("user-hour", whom) == (0, 2_500_000_000)


async def test_budgets_of_everybody_need_no_name(office: Office) -> None:
    await office.desk.request(raised("5", budget="all", whom=None))
    assert await office.standing("all", {}) == (0, 15)


async def test_what_is_not_there_cannot_be_decided(office: Office) -> None:
    for id in ("adj_none", ""):
        with pytest.raises(DeskError, match="there is no adjustment"):
            await office.desk.approve(id, "bob")


async def test_callers_are_those_of_the_ledger(office: Office) -> None:
    for lease, team in (("1", "blue"), ("2", "red"), ("3", "blue")):
        record = {"team": team, "user": "ann", "model": "m"}
        await office.store.reserve("default", lease, [], now_ms=NOON_MS, ttl_ms=60_000, record=record)
    office.clock.now += 120_000
    await office.store.reserve("default", "4", [], now_ms=office.clock.now, ttl_ms=60_000)
    limits = [limit for limit in office.desk._limits if limit.name == "team-day"]
    found = await callers(office.store, "default", limits, office.clock.now)
    assert [dict(one) for one in found] == [{"team": "blue"}, {"team": "red"}]
    assert len(await office.desk.show("default", found)) == 7


# --- limits ----------------------------------------------------------------------------------------------------------------


def adjusted(kind: str, amount: int) -> Adjustment:
    history = (Event("requested", "ann", NOON_MS),)
    return Adjustment("a", "default", "b", "tokens", kind, amount, 0, DAY_END, "in_force", history=history)  # type: ignore[arg-type]


@given(st.integers(0, AMOUNT_MAX), st.lists(st.tuples(st.sampled_from(["raise", "set", "reset"]), st.integers(0, AMOUNT_MAX))))
def test_a_limit_is_the_last_that_was_set_and_all_that_was_added(limit: int, changes: list[tuple[str, int]]) -> None:
    found = limit_of(limit, [adjusted(*change) for change in changes])
    base = next((amount for kind, amount in reversed(changes) if kind == "set"), limit)
    assert found == min(base + sum(amount for kind, amount in changes if kind != "set"), AMOUNT_MAX)


DAMAGED = [b"", b"{}", b"[1]", b'{"id":"\xff"}', b'{"id":"other","x":' + b"[" * 5000 + b"]" * 5000 + b"}"]


@pytest.mark.parametrize("value", [*DAMAGED, packed(adjusted("raise", 1)), packed(adjusted("raise", -1))])
def test_a_record_that_cannot_be_read_does_not_count(value: bytes) -> None:
    assert unpacked(Listed("other", value, 1)) is None
    adjustments = Adjustments()
    adjustments.take(Listed("other", value, 1))
    assert not adjustments._of
