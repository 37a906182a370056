"""Settlements reach the store, however often it must be asked; what is given up is counted."""

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest

from headrace.ext_proc.core.effects import Effect, Price, Record, Release, Settle
from headrace.ext_proc.core.ledger import Spent
from headrace.ext_proc.core.ports import Store, StoreUnavailable
from headrace.ext_proc.core.usage import Usage
from headrace.ext_proc.engine import effects as runners
from headrace.ext_proc.engine.effects import AT_ONCE, EffectRunner
from tests.filters.compiled import NOON_MS, ManualClock
from tests.transcripts.site import WAIT, until

USAGE = Usage(1_000_000, 500_000, 200_000, 7)
PRICE = Price("0.60", "0.80", "0.10")


class ScriptedStore:
    """Keeps what it was asked. errors: raised one by one before it works; `gate`: it answers when that is set."""

    def __init__(self, *errors: Exception, applies: bool = True, gate: asyncio.Event | None = None) -> None:
        self.asked: list[tuple[Any, ...]] = []
        self._errors = list(errors)
        self._applies = applies
        self._gate = gate

    async def settle(self, organisation: str, lease: str, spent: Spent, *, now_ms: int) -> bool:
        return await self._answer("settle", organisation, lease, dict(spent), now_ms)

    async def release(self, organisation: str, lease: str, *, now_ms: int) -> bool:
        return await self._answer("release", organisation, lease, now_ms)

    async def _answer(self, *asked: Any) -> bool:
        self.asked.append(asked)
        if self._gate is not None:
            await self._gate.wait()
        if self._errors:
            raise self._errors.pop(0)
        return self._applies


@asynccontextmanager
async def running(
    store: ScriptedStore, *, drain: float = WAIT, queue: int = 100
) -> AsyncIterator[tuple[EffectRunner, list[Mapping[str, Any]]]]:
    """A runner and the records it made."""
    records: list[Mapping[str, Any]] = []
    runner = EffectRunner(cast(Store, store), ManualClock(), [lambda record: records.append(record.members)], queue=queue)
    await runner.start()
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
    record = await outcome_of(Settle("acme", "e1", USAGE, PRICE, {"status": 200}), store)
    spent = {"tokens": 1_500_000, "input_tokens": 1_000_000, "output_tokens": 500_000, "nano_usd": 900_000_000}
    assert store.asked == [("settle", "acme", "e1", spent, NOON_MS)]
    usage = {"input_tokens": 1_000_000, "output_tokens": 500_000, "cached_tokens": 200_000, "reasoning_tokens": 7}
    assert {name: value for name, value in record.items() if name != "usd"} == {
        "exchange": "e1",
        "organisation": "acme",
        "status": 200,
        "usage": usage,
        "outcome": "settled",
    }
    assert float(record["usd"]) == 0.9


async def test_usage_nobody_reported_leaves_the_reserved_amount_standing() -> None:
    store = ScriptedStore()
    record = await outcome_of(Settle("acme", "e1", None, PRICE), store)
    assert store.asked == [("settle", "acme", "e1", {}, NOON_MS)]
    assert record["outcome"] == "kept"
    assert "usd" not in record


async def test_usage_without_a_price_has_no_money() -> None:
    store = ScriptedStore()
    record = await outcome_of(Settle("acme", "e1", Usage(1, 2)), store)
    assert "nano_usd" not in store.asked[0][3]
    assert "usd" not in record


async def test_usage_without_a_lease_is_recorded_and_the_store_left_alone() -> None:
    store = ScriptedStore()
    record = await outcome_of(Settle("", None, USAGE, PRICE, {"exchange": "e1"}), store)
    assert store.asked == []
    assert (record["outcome"], record["exchange"]) == ("unbudgeted", "e1")


async def test_a_release_reaches_the_store() -> None:
    store = ScriptedStore()
    record = await outcome_of(Release("acme", "e1", {"status": 503}), store)
    assert store.asked == [("release", "acme", "e1", NOON_MS)]
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
    await runner.start()
    with caplog.at_level(logging.ERROR):
        runner.submit([Release("acme", f"e{index}") for index in range(AT_ONCE + 1)])
        await runner.drain(WAIT)
    assert (len(records), runner.dropped) == (AT_ONCE + 1, 0)
    assert caplog.records[0].message == "observer failed"


async def test_a_store_that_is_away_is_asked_until_it_answers() -> None:
    store = ScriptedStore(*[StoreUnavailable("away")] * 5)
    assert (await outcome_of(Release("acme", "e1"), store))["outcome"] == "released"
    assert len(store.asked) == 6


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


async def test_the_depth_counts_what_waits_and_what_is_under_way() -> None:
    gate = asyncio.Event()
    store = ScriptedStore(gate=gate)
    async with running(store) as (runner, _):
        runner.submit([Release("acme", f"e{index}") for index in range(AT_ONCE + 3)])
        await until(lambda: len(store.asked) == AT_ONCE, "all workers to be at work")
        assert runner.depth == AT_ONCE + 3
        gate.set()
    assert runner.depth == 0


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
            await until(lambda: len(store.asked) == AT_ONCE, "all workers to be at work")
    assert runner.dropped == AT_ONCE + 5
    assert [record["outcome"] for record in records] == ["dropped"] * (AT_ONCE + 5)
    assert runner.depth == 0
    assert caplog.records[0].__dict__["count"] == AT_ONCE + 5
