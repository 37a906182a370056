"""Settlements reach the store, however often it must be asked; what is given up is counted."""

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest

from headrace.ext_proc.core.effects import Effect, Record, Release, Settle
from headrace.ext_proc.core.ledger import Charge, Closed, Closing, Fixed, Reached
from headrace.ext_proc.core.ports import Store, StoreUnavailable
from headrace.ext_proc.core.price import Price
from headrace.ext_proc.core.usage import Usage
from headrace.ext_proc.engine import effects as runners
from headrace.ext_proc.engine.effects import AT_ONCE, EffectRunner
from headrace.ext_proc.stores.memory import MemoryStore
from tests.filters.compiled import NOON_MS, ManualClock
from tests.transcripts.site import WAIT, until

USAGE = Usage(1_000_000, 500_000, 200_000, 7)
PRICE = Price("0.60", "0.80", "0.10", "r7")


class ScriptedStore:
    """Keeps what it was asked. errors: raised one by one before it works; `gate`: it answers when that is set."""

    def __init__(self, *errors: Exception, applies: bool = True, gate: asyncio.Event | None = None) -> None:
        self.asked: list[tuple[Any, ...]] = []
        self.entries: list[Mapping[str, str]] = []
        self.reached: tuple[Reached, ...] = ()
        self.refuses = ""
        self._errors = list(errors)
        self._applies = applies
        self._gate = gate

    async def settle_many(self, organisation: str, closings: Sequence[Closing], *, now_ms: int) -> Sequence[Closed]:
        self.asked.append((organisation, [(closing.lease, closing.spent) for closing in closings], now_ms))
        self.entries += [closing.record for closing in closings]
        if self._gate is not None:
            await self._gate.wait()
        if any(closing.lease == self.refuses for closing in closings):
            raise ValueError("no")
        if self._errors:
            raise self._errors.pop(0)
        return [Closed(self._applies, self.reached) for _ in closings]


class LosesReplies(MemoryStore):
    """Does what it is asked; those who ask first do not hear of it."""

    def __init__(self, silent: int) -> None:
        super().__init__()
        self.lost, self._silent = 0, silent

    async def settle_many(self, organisation: str, closings: Sequence[Closing], *, now_ms: int) -> Sequence[Closed]:
        answer = await super().settle_many(organisation, closings, now_ms=now_ms)
        if self.lost < self._silent:
            self.lost += 1
            raise StoreUnavailable("no reply")
        return answer


@asynccontextmanager
async def running(
    store: ScriptedStore, *, drain: float = WAIT, queue: int = 100
) -> AsyncIterator[tuple[EffectRunner, list[Mapping[str, Any]]]]:
    """A runner and the records it made."""
    records: list[Mapping[str, Any]] = []
    runner = EffectRunner(cast(Store, store), ManualClock(), [lambda record: records.append(record.members)], queue=queue)
    yield runner, records
    await runner.drain(drain)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runners, "FIRST_RETRY", 0.0)
    monkeypatch.setattr(runners, "LAST_RETRY", 0.0)


async def outcome_of(effect: Effect, store: ScriptedStore) -> Mapping[str, Any]:
    """The one record of one effect."""
    async with running(store) as (runner, records):
        runner.submit([effect])
        await until(lambda: bool(records), "the effect to be carried out")
    (record,) = records
    return record


async def test_a_settlement_reaches_the_store_in_every_unit_and_is_recorded_with_its_cost() -> None:
    store = ScriptedStore()
    record = await outcome_of(Settle("acme", "e1", USAGE, PRICE, context={"status": 200}), store)
    spent = {"tokens": 1_500_000, "input_tokens": 1_000_000, "output_tokens": 500_000, "nano_usd": 900_000_000}
    assert store.asked == [("acme", [("e1", spent)], NOON_MS)]
    usage = {"input_tokens": 1_000_000, "output_tokens": 500_000, "cached_tokens": 200_000, "reasoning_tokens": 7}
    assert {name: value for name, value in record.items() if name != "usd"} == {
        "exchange": "e1",
        "organisation": "acme",
        "status": 200,
        "usage": usage,
        "price_revision": "r7",
        "outcome": "settled",
    }
    assert float(record["usd"]) == 0.9


async def test_usage_nobody_reported_leaves_the_reserved_amount_standing() -> None:
    store = ScriptedStore()
    record = await outcome_of(Settle("acme", "e1", None, PRICE), store)
    assert store.asked == [("acme", [("e1", {})], NOON_MS)]
    assert record["outcome"] == "kept"
    assert "usd" not in record


async def test_usage_without_a_price_has_no_money() -> None:
    store = ScriptedStore()
    record = await outcome_of(Settle("acme", "e1", Usage(1, 2)), store)
    assert "nano_usd" not in store.asked[0][1][0][1]
    assert "usd" not in record


async def test_usage_without_a_lease_is_recorded_and_the_store_left_alone() -> None:
    store = ScriptedStore()
    record = await outcome_of(Settle("", None, USAGE, PRICE, context={"exchange": "e1"}), store)
    assert store.asked == []
    assert (record["outcome"], record["exchange"]) == ("unbudgeted", "e1")


async def test_a_release_reaches_the_store() -> None:
    store = ScriptedStore()
    record = await outcome_of(Release("acme", "e1", {"status": 503}), store)
    assert store.asked == [("acme", [("e1", None)], NOON_MS)]
    assert (record["outcome"], record["status"]) == ("released", 503)


@pytest.mark.parametrize("effect", [Settle("acme", "e1", USAGE), Release("acme", "e1")], ids=["settle", "release"])
async def test_a_lease_the_store_does_not_know_is_said(effect: Effect) -> None:
    assert (await outcome_of(effect, ScriptedStore(applies=False)))["outcome"] == "unknown_lease"


async def test_a_record_goes_to_the_observers_at_once() -> None:
    async with running(ScriptedStore()) as (runner, records):
        runner.submit([Record("decision", {"exchange": "e1"})])
        assert records == [{"exchange": "e1"}]


async def test_an_observer_that_fails_stops_neither_the_others_nor_the_settlements(caplog: pytest.LogCaptureFixture) -> None:
    def broken(record: Record) -> None:
        raise KeyError("exchange")

    records: list[Record] = []
    runner = EffectRunner(cast(Store, ScriptedStore()), ManualClock(), [broken, records.append])
    with caplog.at_level(logging.ERROR):
        runner.submit([Release("acme", f"e{index}") for index in range(AT_ONCE + 1)])
        await runner.drain(WAIT)
    assert (len(records), runner.dropped) == (AT_ONCE + 1, 0)
    assert caplog.records[0].message == "observer failed"


async def test_a_store_that_is_away_is_asked_until_it_answers() -> None:
    store = ScriptedStore(*[StoreUnavailable("away")] * 5)
    assert (await outcome_of(Release("acme", "e1"), store))["outcome"] == "released"
    assert len(store.asked) == 6


async def test_a_settlement_whose_reply_was_lost_is_recorded_as_what_it_was_and_tells_what_it_reached() -> None:
    store = LosesReplies(2)
    charge = Charge("team", "tokens", 2_000_000, 1_600_000, Fixed(0, NOON_MS * 2), warn=(1_000_000,))
    await store.reserve("acme", "e1", [charge], now_ms=NOON_MS, ttl_ms=60_000)
    records: list[Mapping[str, Any]] = []
    runner = EffectRunner(store, ManualClock(), [lambda record: records.append(record.members)])
    runner.submit([Settle("acme", "e1", USAGE), Settle("acme", "e1", USAGE)])  # an access-log entry that came twice
    await runner.drain(WAIT)
    assert [record.get("outcome", record.get("threshold")) for record in records] == ["settled", 1_000_000, "unknown_lease"]
    assert store.lost == 2


async def test_what_no_store_takes_is_dropped_and_said(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        record = await outcome_of(Release("acme", "e1"), ScriptedStore(ValueError("no")))
    assert record["outcome"] == "dropped"
    assert [entry.message for entry in caplog.records] == ["settlement refused"]


async def test_a_settlement_that_finds_the_queue_full_is_dropped_and_counted() -> None:
    gate = asyncio.Event()
    store = ScriptedStore(gate=gate)
    async with running(store, queue=2) as (runner, records):
        runner.submit([Release("acme", f"e{index}") for index in range(3)])
        assert (runner.dropped, [record["exchange"] for record in records]) == (1, ["e2"])
        gate.set()
    assert [record["outcome"] for record in records] == ["dropped", "released", "released"]


async def test_what_gathers_while_a_call_is_under_way_goes_together(monkeypatch: pytest.MonkeyPatch) -> None:
    gate = asyncio.Event()
    store = ScriptedStore(gate=gate)
    async with running(store) as (runner, records):
        runner.submit([Release("acme", "first")])
        await until(lambda: len(store.asked) == 1, "the call to be under way")
        runner.submit([Release("acme", f"e{index}") for index in range(AT_ONCE + 3)])
        assert runner.depth == AT_ONCE + 4
        gate.set()
    assert [len(closings) for _, closings, _ in store.asked] == [1, AT_ONCE, 3]
    assert [record["exchange"] for record in records] == ["first", *(f"e{index}" for index in range(AT_ONCE + 3))]
    assert runner.depth == 0


async def test_an_organisation_that_cannot_be_settled_holds_up_no_other() -> None:
    store = ScriptedStore(*[StoreUnavailable("away")] * 3)
    async with running(store) as (runner, records):
        runner.submit([Release("acme", "e1"), Release("other", "e2")])
        await until(lambda: len(records) == 2, "both to be settled")
    assert {organisation for organisation, _, _ in store.asked} == {"acme", "other"}


async def test_one_that_no_store_takes_costs_the_others_of_its_batch_nothing(caplog: pytest.LogCaptureFixture) -> None:
    store = ScriptedStore()
    store.refuses = "e1"
    with caplog.at_level(logging.ERROR):
        async with running(store) as (runner, records):
            runner.submit([Release("acme", f"e{index}") for index in range(3)])
    assert [(record["exchange"], record["outcome"]) for record in records] == [
        ("e0", "released"),
        ("e1", "dropped"),
        ("e2", "released"),
    ]
    assert [entry.__dict__["lease"] for entry in caplog.records] == ["e1"]


async def test_a_threshold_that_a_settlement_reached_is_recorded() -> None:
    store = ScriptedStore()
    window = Fixed(0, 9)
    store.reached = (Reached("team-month:blue/ann", "tokens", 100, 80, 85, window),)
    async with running(store) as (runner, records):
        runner.submit([Settle("acme", "e1", USAGE)])
    counter = {"organisation": "acme", "budget": "team-month", "counter": "blue/ann"}
    amounts = {"unit": "tokens", "limit": 100, "threshold": 80, "used": 85, "window": window, "at_ms": NOON_MS}
    assert records[1] == counter | amounts


async def test_the_ledgers_entry_says_who_was_charged_what() -> None:
    store = ScriptedStore()
    who = {"team": "blue", "user": "ann", "asked": "gpt", "model": "gpt-*", "endpoint": "chat", "stream": True}
    seen = {"route": "standard", "status": 200, "duration_ms": 12.5, "start_ms": 7}
    await outcome_of(Settle("acme", "e1", USAGE, PRICE, context=who | seen), store)
    assert store.entries == [
        {
            "exchange": "e1", "organisation": "acme", "team": "blue", "user": "ann", "model": "gpt", "served": "gpt-*",
            "endpoint": "chat", "stream": "1", "route": "standard", "status": "200", "duration_ms": "12",
            "input_tokens": "1000000", "cached_tokens": "200000", "output_tokens": "500000", "reasoning_tokens": "7",
            "nano_usd": "900000000", "price_revision": "r7",
        }
    ]  # fmt: skip


async def test_the_ledgers_entry_without_usage_says_what_was_reserved() -> None:
    store = ScriptedStore()
    await outcome_of(Settle("acme", "e1", None, PRICE, Usage(10, 100)), store)
    assert store.entries[0].items() >= {"input_tokens": "10", "output_tokens": "100", "nano_usd": "86000"}.items()
    await outcome_of(Settle("acme", "e2", None), store)
    await outcome_of(Release("acme", "e3"), store)
    assert [set(entry) for entry in store.entries[1:]] == [{"exchange", "organisation", "outcome"}, {"exchange", "organisation"}]
    assert [entry["outcome"] for entry in store.entries[:2]] == ["kept", "kept"]


async def test_draining_waits_until_all_is_carried_out() -> None:
    store = ScriptedStore(*[StoreUnavailable("away")] * 50)
    async with running(store) as (runner, records):
        runner.submit([Release("acme", f"e{index}") for index in range(100)])
    assert sorted(record["exchange"] for record in records) == sorted(f"e{index}" for index in range(100))
    assert runner.dropped == 0


async def test_what_is_left_when_draining_must_end_is_dropped_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    store = ScriptedStore(gate=asyncio.Event())
    with caplog.at_level(logging.ERROR):
        async with running(store, drain=0.01) as (runner, records):
            runner.submit([Release("acme", f"e{index}") for index in range(AT_ONCE + 5)])
            await until(lambda: bool(store.asked), "the first call to be under way")
    assert runner.dropped == AT_ONCE + 5
    assert [record["outcome"] for record in records] == ["dropped"] * (AT_ONCE + 5)
    assert runner.depth == 0
    assert caplog.records[0].__dict__["count"] == AT_ONCE + 5
