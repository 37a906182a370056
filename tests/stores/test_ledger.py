"""The ledger: one record of each lease that was closed, written by the call that closes it."""

import asyncio
from collections.abc import Sequence
from uuid import uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.ext_proc.core.ledger import Charge, Closed, Closing, Entry, Fixed, Spent
from headrace.ext_proc.core.ports import Store
from headrace.ext_proc.stores import redis
from tests.patience import patient_store
from tests.stores.closing import release, settle

NOW = 1_795_000_000_000
DAY = Fixed(NOW - 1_000, NOW + 86_000_000)
TEAM = Charge("team", "tokens", 10**9, 40, DAY)


async def reserve(store: Store, organisation: str, *leases: str) -> None:
    for lease in leases:
        await store.reserve(organisation, lease, [TEAM], now_ms=NOW, ttl_ms=600_000)


def closing(lease: str, spent: Spent | None, **record: str) -> Closing:
    return Closing(lease, spent, {"exchange": lease, **record})


def leases(entries: Sequence[Entry]) -> list[str]:
    return [entry.members["exchange"] for entry in entries]


async def test_a_lease_that_is_closed_leaves_its_record(store: Store, organisation: str) -> None:
    await reserve(store, organisation, "a", "b", "c")
    ends = [closing("a", {"tokens": 7}, team="research", nano_usd="70"), closing("b", None), closing("c", {}, outcome="kept")]
    await store.settle_many(organisation, ends, now_ms=NOW + 5)
    found = await store.entries(organisation)
    assert [entry.members for entry in found] == [
        {"at_ms": str(NOW + 5), "outcome": "settled", "exchange": "a", "team": "research", "nano_usd": "70"},
        {"at_ms": str(NOW + 5), "outcome": "released", "exchange": "b"},
        {"at_ms": str(NOW + 5), "outcome": "kept", "exchange": "c"},
    ]


async def test_a_lease_that_was_closed_before_leaves_no_second_record(store: Store, organisation: str) -> None:
    await reserve(store, organisation, "a")
    for _ in range(2):
        await store.settle_many(organisation, [closing("a", {"tokens": 7}), closing("x", {"tokens": 1})], now_ms=NOW)
    await store.settle_many(organisation, [closing("a", None)], now_ms=NOW)
    assert leases(await store.entries(organisation)) == ["a"]


async def test_the_ledger_is_read_page_by_page(store: Store, organisation: str) -> None:
    names = [f"lease {number}" for number in range(7)]
    await reserve(store, organisation, *names)
    await store.settle_many(organisation, [closing(name, {"tokens": 1}) for name in names], now_ms=NOW)
    seen: list[Entry] = []
    while page := await store.entries(organisation, after=seen[-1].id if seen else "", limit=3):
        seen += page
    assert leases(seen) == names
    assert len({entry.id for entry in seen}) == 7
    since = seen[0].id.partition("-")[0]
    assert leases(await store.entries(organisation, after=since)) == names
    assert await store.entries(organisation, after=str(int(seen[-1].id.partition("-")[0]) + 1)) == []


async def test_the_ledger_keeps_the_last_records_and_no_more(
    valkey: str, organisation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server cuts whole blocks of a hundred off."""
    shorter = redis.SOURCE.replace(b"local LEDGER = 1000000", b"local LEDGER = 200")
    assert shorter != redis.SOURCE
    monkeypatch.setattr(redis, "VERSION", b"shorter")
    monkeypatch.setattr(redis, "LIBRARY", shorter.replace(b"VERSION", b"shorter"))
    store = patient_store(valkey)
    names = [f"lease {number}" for number in range(500)]
    await reserve(store, organisation, *names)
    for first in range(0, 500, 50):
        ends = [closing(name, {"tokens": 1}) for name in names[first : first + 50]]
        await store.settle_many(organisation, ends, now_ms=NOW)
    kept = leases(await store.entries(organisation))
    assert 200 <= len(kept) < 300 and kept == names[-len(kept) :]
    await store.close()


@pytest.mark.parametrize("after", ["yesterday", "1-", "-1", "1-2-3", "9" * 17, "١"])
async def test_what_is_no_place_in_the_ledger_is_refused(store: Store, organisation: str, after: str) -> None:
    with pytest.raises(ValueError, match="neither the id of a record"):
        await store.entries(organisation, after=after)


LEASES = st.sampled_from("abcdefgh")
STEPS = st.lists(st.tuples(st.sampled_from(["reserve", "settle", "release"]), LEASES, st.integers(0, 90)), max_size=40)


@pytest.mark.parametrize("kind", ["memory", "valkey"])
def test_the_ledgers_sum_is_what_the_counter_holds(kind: str, request: pytest.FixtureRequest) -> None:
    """Whatever is repeated or comes late: once every lease is closed, the records add up to the counter."""
    url = "memory://" if kind == "memory" else request.getfixturevalue("valkey")

    @given(steps=STEPS)
    @settings(max_examples=60, deadline=None)
    def holds(steps: list[tuple[str, str, int]]) -> None:
        asyncio.run(play(steps))

    async def play(steps: list[tuple[str, str, int]]) -> None:
        store, organisation = patient_store(url), str(uuid4())
        gone: set[str] = set()
        for step, lease, amount in [*steps, *(("settle", lease, 11) for lease in "abcdefgh")]:
            if step == "reserve" and lease not in gone:
                await reserve(store, organisation, lease)
                continue
            spent: Spent | None = {"tokens": amount} if step == "settle" else None
            (closed,) = await store.settle_many(organisation, [closing(lease, spent, tokens=str(amount))], now_ms=NOW)
            gone |= {lease} if closed.applied or spent is None else set()
        told = [entry.members for entry in await store.entries(organisation)]
        assert len({one["exchange"] for one in told}) == len(told)
        assert (sum(int(one["tokens"]) for one in told if one["outcome"] == "settled"),) == await store.read(
            organisation, [TEAM], now_ms=NOW
        )
        await store.close()

    holds()


OWN = {"exchange": "lease", "user": "ann", "requests": "10"}


async def test_a_lease_that_lapses_is_written_down_by_the_next_call(store: Store, organisation: str) -> None:
    charge = Charge("team", "requests", 100, 10, Fixed(NOW, NOW + 86_400_000))
    for lease, ttl_ms in (("lease", 1000), ("other", 5000)):
        await store.reserve(organisation, lease, [charge], now_ms=NOW, ttl_ms=ttl_ms, record={**OWN, "exchange": lease})
    assert await store.entries(organisation) == []
    assert not await settle(store, organisation, "lease", {"requests": 1}, now_ms=NOW + 1000)
    assert [entry.members for entry in await store.entries(organisation)] == [
        {"at_ms": str(NOW + 1000), "outcome": "expired", **OWN}
    ]
    assert await settle(store, organisation, "other", {"requests": 1}, now_ms=NOW + 1000)
    await store.reserve(organisation, "third", [charge], now_ms=NOW + 70_000, ttl_ms=1000)
    assert leases(await store.entries(organisation)) == ["lease"]
    assert await store.read(organisation, [charge], now_ms=NOW + 70_000) == (21,)


async def test_a_lease_that_was_written_down_as_lapsed_is_closed_for_whoever_lags(store: Store, organisation: str) -> None:
    charge = Charge("team", "requests", 100, 10, Fixed(NOW, NOW + 86_400_000))
    await store.reserve(organisation, "lease", [charge], now_ms=NOW, ttl_ms=1000, record=OWN)
    await store.reserve(organisation, "next", [charge], now_ms=NOW + 1500, ttl_ms=1000)
    assert await store.settle_many(organisation, [closing("lease", {"requests": 1}, **OWN)], now_ms=NOW + 500) == [Closed(False)]
    assert leases(await store.entries(organisation)) == ["lease"]
    assert await store.read(organisation, [charge], now_ms=NOW + 1500) == (20,)


async def test_what_lapses_after_an_extension_is_written_down_as_extended(store: Store, organisation: str) -> None:
    charge = Charge("team", "requests", 100, 10, Fixed(NOW, NOW + 86_400_000))
    await store.reserve(organisation, "lease", [charge], now_ms=NOW, ttl_ms=1000, record=OWN)
    await store.extend(organisation, "lease", {"requests": 25}, now_ms=NOW + 500, ttl_ms=1000)
    await store.reserve(organisation, "next", [charge], now_ms=NOW + 1000, ttl_ms=10_000)
    assert await store.entries(organisation) == []
    await release(store, organisation, "next", now_ms=NOW + 1500)
    (entry,) = await store.entries(organisation)
    assert entry.members == {"at_ms": str(NOW + 1500), "outcome": "expired", **OWN, "requests": "25"}
    assert await store.read(organisation, [charge], now_ms=NOW + 1500) == (25,)
