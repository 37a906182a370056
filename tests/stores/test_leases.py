"""What every store does with leases that run, grow and end together: what runs at once, extensions, batches, thresholds."""

import asyncio

import pytest

from headrace.ext_proc.core.ledger import (
    HELD,
    Admitted,
    Charge,
    Closed,
    Closing,
    Exhausted,
    Fixed,
    Reached,
    Sliding,
    Spent,
    Unit,
    Window,
)
from headrace.ext_proc.core.ports import Store
from tests.patience import patient_store
from tests.stores.closing import release, settle

NOW = 1_795_000_000_000
DAY = Fixed(NOW - 1_000, NOW + 10_000)
MINUTE = Sliding(60_000)  # in buckets of a second
TTL = 600_000
ORGANISATION = ""
"""Of the test that runs: the server is shared."""


@pytest.fixture(autouse=True)
def own_organisation(monkeypatch: pytest.MonkeyPatch, organisation: str) -> None:
    monkeypatch.setattr(f"{__name__}.ORGANISATION", organisation)


def charge(amount: int, *, limit: int = 100, unit: Unit = "tokens", window: Window = DAY, warn: tuple[int, ...] = ()) -> Charge:
    return Charge("team", unit, limit, amount, window, warn)


def running(limit: int = 2) -> Charge:
    return charge(1, limit=limit, unit="concurrency", window=HELD)


async def reserve(store: Store, lease: str, *charges: Charge, at: int = NOW, ttl: int = TTL) -> Admitted | Exhausted:
    return await store.reserve(ORGANISATION, lease, charges, now_ms=at, ttl_ms=ttl)


async def used(store: Store, *charges: Charge, at: int = NOW) -> tuple[int, ...]:
    return await store.read(ORGANISATION, charges, now_ms=at)


async def test_what_runs_at_once_is_held_until_it_ends(store: Store) -> None:
    assert await reserve(store, "a", charge(10), running()) == Admitted((90, 1))
    assert await reserve(store, "b", charge(10), running()) == Admitted((80, 0))
    assert await reserve(store, "c", charge(10), running()) == Exhausted(1, (80, 0), NOW)
    assert await used(store, charge(0), running()) == (20, 2)
    assert await settle(store, ORGANISATION, "a", {"tokens": 4}, now_ms=NOW)
    assert await reserve(store, "c", charge(10), running()) == Admitted((76, 0))
    assert await release(store, ORGANISATION, "b", now_ms=NOW)
    assert not await release(store, ORGANISATION, "b", now_ms=NOW)
    assert await used(store, charge(0), running()) == (14, 1)


async def test_a_lease_that_lapses_runs_no_longer_and_what_it_spent_stands(store: Store) -> None:
    await reserve(store, "a", charge(10), running(1), ttl=1_000)
    assert isinstance(await reserve(store, "b", running(1), at=NOW + 999), Exhausted)
    assert await used(store, charge(0), running(1), at=NOW + 1_000) == (10, 0)
    assert await reserve(store, "b", running(1), at=NOW + 1_000) == Admitted((0,))


async def test_reserving_again_does_not_run_twice(store: Store) -> None:
    assert await reserve(store, "a", running()) == await reserve(store, "a", running()) == Admitted((1,))
    assert await used(store, running()) == (1,)


async def test_of_two_refusals_the_one_that_lasts_is_named(store: Store) -> None:
    await reserve(store, "a", charge(100), running(1))
    assert await reserve(store, "b", running(1), charge(1)) == Exhausted(1, (0, 0), DAY.end_ms)


@pytest.mark.parametrize(("unit", "window"), [("concurrency", DAY), ("concurrency", MINUTE), ("tokens", HELD)])
async def test_concurrency_has_no_window_and_nothing_else_has_none(store: Store, unit: Unit, window: Window) -> None:
    with pytest.raises(ValueError, match="concurrency is counted while leases run"):
        await reserve(store, "a", charge(1, unit=unit, window=window))


async def extend(store: Store, lease: str, *, at: int = NOW, ttl: int = TTL, **totals: int) -> Admitted | Exhausted | None:
    amounts: dict[Unit, int] = {"tokens": totals.get("tokens", 0), "nano_usd": totals.get("nano_usd", 0)}
    return await store.extend(ORGANISATION, lease, amounts, now_ms=at, ttl_ms=ttl)


async def test_a_lease_is_extended_to_a_total_however_often_that_is_said(store: Store) -> None:
    charges = (charge(30), charge(30, limit=500, unit="nano_usd", window=MINUTE), charge(1, limit=3, unit="requests"), running())
    await reserve(store, "a", *charges)
    for _ in range(2):
        assert await extend(store, "a", tokens=50, nano_usd=70) == Admitted((50, 430, 2, 1))
    assert await extend(store, "a", tokens=40) == Admitted((50, 430, 2, 1))
    assert await used(store, *charges) == (50, 70, 1, 1)
    assert await settle(store, ORGANISATION, "a", {"tokens": 44, "nano_usd": 61}, now_ms=NOW)
    assert await used(store, *charges) == (44, 61, 1, 0)


async def test_an_extension_that_one_counter_cannot_hold_charges_none(store: Store) -> None:
    charges = (charge(30, limit=1000), charge(30, limit=60, unit="nano_usd"))
    await reserve(store, "a", *charges)
    assert await extend(store, "a", tokens=50, nano_usd=61) == Exhausted(1, (970, 30), DAY.end_ms)
    assert await used(store, *charges) == (30, 30)
    assert await release(store, ORGANISATION, "a", now_ms=NOW)
    assert await used(store, *charges) == (0, 0)


async def test_a_counter_that_stays_as_it_is_refuses_no_extension(store: Store) -> None:
    await reserve(store, "a", charge(30), charge(5, unit="nano_usd", limit=10))
    await reserve(store, "b", charge(0), charge(5, unit="nano_usd", limit=10))
    await settle(store, ORGANISATION, "b", {"nano_usd": 50}, now_ms=NOW)
    assert await extend(store, "a", tokens=40) == Admitted((60, 0))


async def test_an_extended_lease_lives_on_and_keeps_what_runs(store: Store) -> None:
    await reserve(store, "a", charge(30), running(1), ttl=1_000)
    assert await extend(store, "a", at=NOW + 999, ttl=5_000, tokens=40) == Admitted((60, 0))
    assert isinstance(await reserve(store, "b", running(1), at=NOW + 5_998), Exhausted)
    assert await extend(store, "a", at=NOW + 5_999, tokens=50) is None
    assert await reserve(store, "b", running(1), at=NOW + 5_999) == Admitted((0,))


async def test_what_is_not_open_is_not_extended(store: Store) -> None:
    assert await extend(store, "a", tokens=50) is None
    await reserve(store, "a", charge(30))
    await settle(store, ORGANISATION, "a", {"tokens": 30}, now_ms=NOW)
    assert await extend(store, "a", tokens=50) is None
    assert await used(store, charge(0)) == (30,)


async def test_a_window_that_has_gone_holds_any_extension(store: Store) -> None:
    await reserve(store, "a", charge(100), charge(10, unit="nano_usd", window=Fixed(NOW, NOW + TTL)))
    assert isinstance(await extend(store, "a", tokens=101, nano_usd=20), Exhausted)
    assert isinstance(await extend(store, "a", at=DAY.end_ms, tokens=101, nano_usd=20), Admitted)
    assert await used(store, charge(0, unit="nano_usd", window=Fixed(NOW, NOW + TTL)), at=DAY.end_ms) == (20,)


async def test_leases_are_closed_together_each_as_by_itself(store: Store) -> None:
    for lease in "abcd":
        await reserve(store, lease, charge(10))
    closings = [Closing("a", {"tokens": 1}), Closing("b"), Closing("x", {"tokens": 1}), Closing("c", {}), Closing("a")]
    closed = await store.settle_many(ORGANISATION, closings, now_ms=NOW)
    assert [one.applied for one in closed] == [True, True, False, True, False]
    assert await used(store, charge(0)) == (1 + 0 + 10 + 10,)
    assert await store.settle_many(ORGANISATION, [], now_ms=NOW) == []


@pytest.mark.parametrize("spent", [{"tokens": 55}, {}, None], ids=["settled", "kept", "released"])
async def test_whoever_closes_a_lease_is_told_the_same_again(store: Store, spent: Spent | None) -> None:
    await reserve(store, "a", charge(60, warn=(50,)))
    closing = Closing("a", spent, {"exchange": "a"}, by="me")
    first = await store.settle_many(ORGANISATION, [closing], now_ms=NOW)
    assert (first[0].applied, len(first[0].reached)) == (True, 0 if spent is None else 1)
    assert await store.settle_many(ORGANISATION, [closing], now_ms=NOW + 1) == first
    assert await used(store, charge(0)) == ((spent or {}).get("tokens", 0 if spent is None else 60),)
    assert len(await store.entries(ORGANISATION)) == 1
    for other in (Closing("a", spent), Closing("a", spent, by="you")):
        assert await store.settle_many(ORGANISATION, [other], now_ms=NOW) == [Closed(False)]


async def test_a_release_before_its_reservation_closed_nothing_however_often_it_is_told(store: Store) -> None:
    early = Closing("a", by="me")
    assert [await store.settle_many(ORGANISATION, [early], now_ms=NOW) for _ in range(2)] == [[Closed(False)]] * 2


async def test_closings_that_no_store_takes_close_nothing(store: Store) -> None:
    await reserve(store, "a", charge(10))
    with pytest.raises(ValueError, match="tokens: -1"):
        await store.settle_many(ORGANISATION, [Closing("a"), Closing("b", {"tokens": -1})], now_ms=NOW)
    with pytest.raises(ValueError, match="must not be empty"):
        await store.settle_many(ORGANISATION, [Closing("a"), Closing("")], now_ms=NOW)
    assert await used(store, charge(0)) == (10,)


async def told(store: Store, lease: str, spent: int, *, at: int = NOW) -> tuple[Reached, ...]:
    (closed,) = await store.settle_many(ORGANISATION, [Closing(lease, {"tokens": spent})], now_ms=at)
    return closed.reached


@pytest.mark.parametrize("window", [DAY, MINUTE], ids=["fixed", "sliding"])
async def test_a_threshold_is_told_once_when_a_settlement_finds_it_reached(store: Store, window: Window) -> None:
    warned = charge(40, window=window, warn=(50, 80))
    await reserve(store, "a", warned)
    await reserve(store, "b", warned)  # 80 are reserved: nobody has spent them
    assert await told(store, "a", 5) == ()
    assert await told(store, "b", 45) == (Reached("team", "tokens", 100, 50, 50, window),)
    await reserve(store, "c", warned)
    assert await told(store, "c", 45) == (Reached("team", "tokens", 100, 80, 95, window),)
    assert await told(store, "c", 45) == ()


async def test_every_threshold_that_one_settlement_passes_is_told(store: Store) -> None:
    await reserve(store, "a", charge(40, warn=(50, 80, 95)))
    assert [reached.threshold for reached in await told(store, "a", 90)] == [50, 80]


async def test_a_release_tells_nothing_and_a_settlement_without_usage_does(store: Store) -> None:
    for lease in ("a", "b"):
        await reserve(store, lease, charge(45, warn=(40,)))
    released, kept = await store.settle_many(ORGANISATION, [Closing("a"), Closing("b", {})], now_ms=NOW)
    assert (len(released.reached), len(kept.reached)) == (0, 1)


async def test_thresholds_of_a_window_that_has_gone_are_not_told(store: Store) -> None:
    await reserve(store, "a", charge(45, warn=(40,)))
    assert await told(store, "a", 45, at=DAY.end_ms) == ()


async def test_a_sliding_threshold_is_told_again_when_the_window_has_passed(store: Store) -> None:
    for second, expected in ((0, 1), (30, 0), (59, 0), (60, 1)):
        at = NOW + second * 1_000
        await reserve(store, f"at {second}", charge(1, window=MINUTE, limit=1000, warn=(40,)), at=at)
        assert len(await told(store, f"at {second}", 50, at=at)) == expected


async def test_a_caller_whose_clock_lags_meets_the_counter_of_a_window_that_others_have_left(store: Store) -> None:
    assert await reserve(store, "a", charge(80)) == Admitted((20,))
    later = Fixed(DAY.end_ms, DAY.end_ms + 10_000)
    assert await reserve(store, "b", charge(10, window=later), at=later.start_ms + 5_000) == Admitted((90,))
    assert await reserve(store, "c", charge(30)) == Exhausted(0, (20,), DAY.end_ms)
    assert await settle(store, ORGANISATION, "a", {"tokens": 5}, now_ms=NOW)
    assert await used(store, charge(0)) == (5,)


async def test_more_leases_than_luas_stack_holds_may_lapse_at_once(valkey: str, organisation: str) -> None:
    store, limit, many = patient_store(valkey), 20_000, 8_200
    for first in range(0, many, 1_000):
        batch = range(first, min(first + 1_000, many))
        await asyncio.gather(*(reserve(store, f"l{number}", running(limit), ttl=1_000) for number in batch))
    assert await used(store, running(limit)) == (many,)
    assert await reserve(store, "after", running(limit), at=NOW + 1_000) == Admitted((limit - 1,))
    assert await used(store, running(limit), at=NOW + 1_000) == (1,)
    await store.close()
