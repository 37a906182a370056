"""What every store does, by example. The model test covers what follows from any order of calls."""

import asyncio

import pytest

from headrace.ext_proc.core.ledger import AMOUNT_MAX, Admitted, Charge, Exhausted, Fixed, Sliding, Unit, Window
from headrace.ext_proc.core.ports import Store, StoreUnavailable
from headrace.ext_proc.core.roster import Seen
from tests.stores.closing import release, settle

NOW = 1_795_000_000_000
DAY = Fixed(NOW - 1_000, NOW + 10_000)
WEEK = Fixed(NOW - 5_000, NOW + 50_000)
MINUTE = Sliding(60_000)  # in buckets of a second
TTL = 600_000


def charge(amount: int, *, limit: int = 100, counter: str = "team", unit: Unit = "tokens", window: Window = DAY) -> Charge:
    return Charge(counter, unit, limit, amount, window)


async def reserve(store: Store, organisation: str, lease: str, *charges: Charge, at: int = NOW) -> Admitted | Exhausted:
    return await store.reserve(organisation, lease, charges, now_ms=at, ttl_ms=TTL)


async def used(store: Store, organisation: str, *charges: Charge, at: int = NOW) -> tuple[int, ...]:
    return await store.read(organisation, charges, now_ms=at)


async def test_reserving_charges_every_counter_and_says_what_is_left(store: Store, organisation: str) -> None:
    charges = (charge(30), charge(1, limit=5, unit="requests"), charge(30, window=WEEK, limit=40), charge(30, window=MINUTE))
    assert await reserve(store, organisation, "a", *charges) == Admitted((70, 4, 10, 70))
    assert await used(store, organisation, *charges) == (30, 1, 30, 30)


async def test_a_lease_that_one_counter_cannot_hold_charges_none(store: Store, organisation: str) -> None:
    roomy, tight = charge(30, limit=1000), charge(30, counter="user", limit=29)
    assert await reserve(store, organisation, "a", roomy, tight) == Exhausted(1, (1000, 29), DAY.end_ms)
    assert await used(store, organisation, roomy, tight) == (0, 0)


async def test_the_refusal_that_lasts_longest_is_the_one_that_is_told(store: Store, organisation: str) -> None:
    day, week, minute = charge(30, limit=10), charge(30, limit=20, window=WEEK), charge(30, limit=30, window=MINUTE)
    assert await reserve(store, organisation, "a", day, week, minute) == Exhausted(1, (10, 20, 30), WEEK.end_ms)
    assert await reserve(store, organisation, "b", day, charge(11, counter="other", limit=10)) == Exhausted(0, (10, 10), DAY.end_ms)


async def test_a_limit_may_be_used_up_exactly_and_no_further(store: Store, organisation: str) -> None:
    assert await reserve(store, organisation, "a", charge(100)) == Admitted((0,))
    assert await reserve(store, organisation, "b", charge(0)) == Admitted((0,))
    assert await reserve(store, organisation, "c", charge(1)) == Exhausted(0, (0,), DAY.end_ms)


async def test_reserving_again_gives_the_same_answer_and_charges_nothing(store: Store, organisation: str) -> None:
    first = await reserve(store, organisation, "a", charge(60))
    await reserve(store, organisation, "b", charge(10))
    assert await reserve(store, organisation, "a", charge(60)) == first == Admitted((40,))
    assert await used(store, organisation, charge(0)) == (70,)


async def test_what_is_left_is_told_in_the_order_of_the_charges(store: Store, organisation: str) -> None:
    charges = [charge(n, counter=f"c{n}", window=(DAY, MINUTE, WEEK)[n % 3]) for n in range(1, 8)]
    assert await reserve(store, organisation, "a", *charges) == Admitted((99, 98, 97, 96, 95, 94, 93))
    assert await used(store, organisation, *charges) == (1, 2, 3, 4, 5, 6, 7)
    refused = await reserve(store, organisation, "b", charge(95, counter="c7", window=MINUTE), *charges[:6], charge(95))
    assert refused == Exhausted(0, (93, 99, 98, 97, 96, 95, 94, 100), NOW + 61_000)
    assert await reserve(store, organisation, "a") == Admitted((99, 98, 97, 96, 95, 94, 93))


async def test_a_refusal_leaves_no_trace(store: Store, organisation: str) -> None:
    await reserve(store, organisation, "a", charge(60))
    assert isinstance(await reserve(store, organisation, "b", charge(60)), Exhausted)
    assert not await settle(store, organisation, "b", {"tokens": 1}, now_ms=NOW)
    await release(store, organisation, "a", now_ms=NOW)
    assert await reserve(store, organisation, "b", charge(60)) == Admitted((40,))


@pytest.mark.parametrize("actual", [0, 5, 60, 250])
async def test_settling_puts_what_was_spent_in_place_of_what_was_reserved(store: Store, organisation: str, actual: int) -> None:
    charges = (charge(60), charge(60, window=MINUTE))
    await reserve(store, organisation, "other", *(charge(7), charge(7, window=MINUTE)))
    await reserve(store, organisation, "a", *charges)
    assert await settle(store, organisation, "a", {"tokens": actual}, now_ms=NOW + 1)
    assert await used(store, organisation, *charges) == (7 + actual, 7 + actual)


async def test_units_that_are_not_known_stay_as_reserved(store: Store, organisation: str) -> None:
    charges = (charge(60), charge(500, unit="nano_usd", limit=1000), charge(1, unit="requests"))
    await reserve(store, organisation, "a", *charges)
    assert await settle(store, organisation, "a", {"tokens": 10, "output_tokens": 99}, now_ms=NOW)
    assert await used(store, organisation, *charges) == (10, 500, 1)


async def test_a_lease_is_settled_or_released_once(store: Store, organisation: str) -> None:
    await reserve(store, organisation, "settled", charge(50))
    await reserve(store, organisation, "released", charge(50))
    assert await settle(store, organisation, "settled", {"tokens": 20}, now_ms=NOW)
    assert await release(store, organisation, "released", now_ms=NOW)
    for lease, answer in (("settled", Admitted((50,))), ("released", Admitted((0,)))):
        assert not await settle(store, organisation, lease, {"tokens": 1}, now_ms=NOW)
        assert not await release(store, organisation, lease, now_ms=NOW)
        assert await reserve(store, organisation, lease, charge(50)) == answer
    assert await used(store, organisation, charge(0)) == (20,)


async def test_a_lease_that_was_never_settled_lapses_and_what_it_charged_stands(store: Store, organisation: str) -> None:
    window = Fixed(NOW, NOW + 10 * TTL)
    await reserve(store, organisation, "a", charge(50, window=window))
    later = NOW + TTL
    assert not await settle(store, organisation, "a", {"tokens": 1}, now_ms=later)
    assert await used(store, organisation, charge(0, window=window), at=later) == (50,)
    assert await reserve(store, organisation, "a", charge(20, window=window), at=later) == Admitted((30,))


async def test_a_reservation_overtaken_by_its_release_is_refused(store: Store, organisation: str) -> None:
    assert not await release(store, organisation, "a", now_ms=NOW)
    with pytest.raises(ValueError, match="released before"):
        await reserve(store, organisation, "a", charge(50))
    assert not await settle(store, organisation, "a", {"tokens": 9}, now_ms=NOW)
    assert await used(store, organisation, charge(0)) == (0,)
    later = Fixed(NOW, NOW + TTL)
    assert await reserve(store, organisation, "a", charge(50, window=later), at=NOW + 60_000) == Admitted((50,))


async def test_a_window_that_has_gone_is_not_brought_back_by_settling(store: Store, organisation: str) -> None:
    await reserve(store, organisation, "a", charge(50), charge(50, window=MINUTE))
    tomorrow = Fixed(DAY.end_ms, DAY.end_ms + 120_000)
    later = NOW + 62_000
    assert await settle(store, organisation, "a", {"tokens": 90}, now_ms=later)
    assert await used(store, organisation, charge(0, window=tomorrow), charge(0, window=MINUTE), at=later) == (0, 0)


async def test_windows_of_one_counter_are_counted_apart(store: Store, organisation: str) -> None:
    tomorrow = Fixed(DAY.end_ms, DAY.end_ms + 10_000)
    assert await reserve(store, organisation, "a", charge(100)) == Admitted((0,))
    assert await reserve(store, organisation, "b", charge(100, window=tomorrow), at=DAY.end_ms) == Admitted((0,))


async def test_a_sliding_window_counts_an_amount_for_its_length_and_at_most_a_bucket_more(store: Store, organisation: str) -> None:
    at = NOW + 250  # a quarter into its bucket of a second
    await reserve(store, organisation, "a", charge(80, window=MINUTE), at=at)
    probe = charge(0, window=MINUTE)
    assert await used(store, organisation, probe, at=at + 60_000) == (80,)
    assert await used(store, organisation, probe, at=NOW + 60_999) == (80,)
    assert await used(store, organisation, probe, at=NOW + 61_000) == (0,)


async def test_a_sliding_window_says_when_enough_of_it_has_lapsed(store: Store, organisation: str) -> None:
    for second, amount in enumerate((10, 20, 30)):
        await reserve(store, organisation, f"a{second}", charge(amount, window=MINUTE), at=NOW + second * 1_000)
    now = NOW + 3_000
    refused = await reserve(store, organisation, "b", charge(70, window=MINUTE), at=now)
    assert refused == Exhausted(0, (40,), NOW + 62_000)  # 10 and 20 must have lapsed
    assert isinstance(await reserve(store, organisation, "b", charge(70, window=MINUTE), at=NOW + 61_999), Exhausted)
    assert await reserve(store, organisation, "b", charge(70, window=MINUTE), at=NOW + 62_000) == Admitted((0,))


async def test_an_amount_above_the_limit_never_fits(store: Store, organisation: str) -> None:
    assert await reserve(store, organisation, "a", charge(101)) == Exhausted(0, (100,), DAY.end_ms)
    refused = await reserve(store, organisation, "a", charge(101, window=MINUTE))
    assert refused == Exhausted(0, (100,), NOW + 61_000)


async def test_counting_is_exact_up_to_the_largest_amount(store: Store, organisation: str) -> None:
    assert await reserve(store, organisation, "a", charge(AMOUNT_MAX - 1, limit=AMOUNT_MAX)) == Admitted((1,))
    assert await reserve(store, organisation, "b", charge(2, limit=AMOUNT_MAX)) == Exhausted(0, (1,), DAY.end_ms)
    assert await reserve(store, organisation, "c", charge(1, limit=AMOUNT_MAX)) == Admitted((0,))
    assert await used(store, organisation, charge(0)) == (AMOUNT_MAX,)
    assert await settle(store, organisation, "c", {"tokens": AMOUNT_MAX}, now_ms=NOW)
    assert await used(store, organisation, charge(0)) == (AMOUNT_MAX,)


@pytest.mark.parametrize("window", [DAY, MINUTE])
async def test_of_fifty_leases_at_once_a_budget_worth_seven_admits_seven(store: Store, organisation: str, window: Window) -> None:
    charges = (charge(14, window=window), charge(1, unit="requests", limit=1000))
    answers = await asyncio.gather(*(reserve(store, organisation, f"lease-{n}", *charges) for n in range(50)))
    assert sum(isinstance(answer, Admitted) for answer in answers) == 7
    assert await used(store, organisation, *charges) == (98, 7)


async def test_organisations_share_nothing_whatever_their_names(store: Store, organisation: str) -> None:
    names = [organisation, f"{organisation}}}", f"{{{organisation}", f"{organisation}}}:fixed", f"{organisation}:é/%"]
    for name in names:
        assert await reserve(store, name, "a", charge(100)) == Admitted((0,))
    assert await settle(store, names[0], "a", {"tokens": 5}, now_ms=NOW)
    assert [await used(store, name, charge(0)) for name in names] == [(5,)] + [(100,)] * 4


async def test_counters_share_nothing_whatever_their_names(store: Store, organisation: str) -> None:
    names = ["team", "team:", "tokens:team", "requests:team", "", "a b\r\n*1", "ü" * 300]
    charges = [charge(n + 1, counter=name) for n, name in enumerate(names)]
    charges += [charge(n + 1, counter=name, window=MINUTE) for n, name in enumerate(names)]
    await reserve(store, organisation, "a", *charges)
    assert await used(store, organisation, *charges) == tuple(range(1, 8)) * 2


async def test_a_lease_may_draw_on_many_counters(store: Store, organisation: str) -> None:
    charges = [charge(n, counter=f"user-{n}", limit=1000) for n in range(256)]
    assert await reserve(store, organisation, "a", *charges) == Admitted(tuple(1000 - n for n in range(256)))
    with pytest.raises(ValueError, match="257 charges"):
        await reserve(store, organisation, "b", *charges, charge(1))


async def test_a_lease_of_no_charges_is_admitted(store: Store, organisation: str) -> None:
    assert await reserve(store, organisation, "a") == Admitted(())
    assert await used(store, organisation) == ()


@pytest.mark.parametrize(
    ("organisation", "lease", "charges", "ttl_ms", "what"),
    [
        ("", "a", (charge(1),), TTL, "must not be empty"),
        ("org", "", (charge(1),), TTL, "must not be empty"),
        ("org", "a", (charge(1), charge(2)), TTL, "named twice"),
        ("org", "a", (charge(1, window=Fixed(0, NOW)),), TTL, "does not hold"),
        ("org", "a", (charge(1, window=Fixed(NOW + 1, NOW + 2)),), TTL, "does not hold"),
        ("org", "a", (charge(1),), 0, "ttl_ms"),
    ],
)
async def test_a_call_that_makes_no_sense_is_refused(
    store: Store, organisation: str, lease: str, charges: tuple[Charge, ...], ttl_ms: int, what: str
) -> None:
    with pytest.raises(ValueError, match=what):
        await store.reserve(organisation, lease, charges, now_ms=NOW, ttl_ms=ttl_ms)


@pytest.mark.parametrize("amount", [-1, AMOUNT_MAX + 1])
async def test_a_spent_amount_that_is_not_exact_is_refused(store: Store, organisation: str, amount: int) -> None:
    await reserve(store, organisation, "a", charge(50))
    with pytest.raises(ValueError, match="tokens"):
        await settle(store, organisation, "a", {"tokens": amount}, now_ms=NOW)
    assert await used(store, organisation, charge(0)) == (50,)


async def test_a_closed_store_refuses_every_call(store: Store, organisation: str) -> None:
    await store.ping()
    await store.close()
    await store.close()
    calls = [
        reserve(store, organisation, "a", charge(1)),
        settle(store, organisation, "a", {}, now_ms=NOW),
        release(store, organisation, "a", now_ms=NOW),
        used(store, organisation, charge(1)),
        store.enrol("keys", "a", b""),
        store.listed("keys", "a"),
        store.listed_since("keys", 0),
        store.changes("keys", Seen()),
        store.ping(),
    ]
    for call in calls:
        with pytest.raises(StoreUnavailable, match="closed"):
            await call


async def test_its_clock_tells_wall_time_and_goes_on(store: Store) -> None:
    first, second = await store.time_ms(), await store.time_ms()
    assert NOW < first <= second < NOW + 10**12  # from November 2026 on, in milliseconds rather than in another unit
