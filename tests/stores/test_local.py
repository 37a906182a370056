"""What is admitted while the store is away: no more than the allowance, and the store has all of it afterwards."""

import asyncio
from collections.abc import Sequence
from typing import Any

from headrace.ext_proc.core.ledger import Admitted, Charge, Closing, Fixed
from headrace.ext_proc.core.ports import StoreUnavailable
from headrace.ext_proc.stores.local import LocalAllowance
from headrace.ext_proc.stores.memory import MemoryStore
from tests.stores.closing import settle

NOW = 1_795_000_000_000
DAY = Fixed(NOW, NOW + 86_400_000)
CHARGES = [Charge("team", "tokens", 1000, 10, DAY), Charge("user", "requests", 50, 1, DAY)]
PERCENT = 5
DEADLINE_S = 10.0


class Away(MemoryStore):
    """A store whose calls fail while it is away; `late`: it takes reservations all the same, and nobody hears of it."""

    def __init__(self) -> None:
        super().__init__()
        self.away, self.late = True, False

    async def reserve(self, *args: Any, **named: Any) -> Any:
        if self.late:
            await super().reserve(*args, **named)
        self._here()
        return await super().reserve(*args, **named)

    async def settle_many(self, *args: Any, **named: Any) -> Any:
        self._here()
        return await super().settle_many(*args, **named)

    def _here(self) -> None:
        if self.away:
            raise StoreUnavailable("away")


def admit(local: LocalAllowance, lease: str, now_ms: int = NOW, charges: Sequence[Charge] = CHARGES) -> Admitted | None:
    return local.admit("acme", lease, charges, PERCENT, now_ms=now_ms, ttl_ms=60_000, record={"exchange": lease})


async def used(store: Away, count: tuple[int, int]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while await store.read("acme", CHARGES, now_ms=NOW) != count:  # noqa: ASYNC110 – a store tells nobody of its changes
            await asyncio.sleep(0.01)


async def test_each_worker_admits_its_allowance_and_no_more() -> None:
    store = Away()
    workers = [LocalAllowance(store) for _ in range(4)]
    counts = [sum(admit(worker, f"{n}-{i}") is not None for i in range(50)) for n, worker in enumerate(workers)]
    assert counts == [3, 3, 3, 3]  # 5 % of 50 requests, rounded up; 5 % of 1000 tokens are 50
    store.away = False
    await used(store, (120, 12))
    for worker in workers:
        await worker.close()


async def test_the_store_takes_what_was_admitted_even_above_its_limit_and_settlements_find_it() -> None:
    store = Away()
    full = [Charge("team", "tokens", 1000, 995, DAY), Charge("user", "requests", 50, 50, DAY)]
    store.away = False
    await store.reserve("acme", "full", full, now_ms=NOW, ttl_ms=60_000)
    store.away = True
    local = LocalAllowance(store)
    assert admit(local, "one") == Admitted((40, 2)) and admit(local, "two") == Admitted((30, 1))
    store.away = False
    (closed,) = await local.settle_many("acme", [Closing("two", {"tokens": 7}, {"exchange": "two"})], now_ms=NOW)
    assert closed.applied
    await used(store, (995 + 10 + 7, 52))
    await local.close()


async def test_a_lease_that_the_store_took_without_saying_so_is_charged_once() -> None:
    store = Away()
    store.late = True
    local = LocalAllowance(store)
    try:
        await local.reserve("acme", "one", CHARGES, now_ms=NOW, ttl_ms=60_000)
    except StoreUnavailable:
        assert admit(local, "one") is not None
    store.away = store.late = False
    await settle(local, "acme", "one", {"tokens": 4}, now_ms=NOW)
    await used(store, (4, 1))
    await local.close()


async def test_an_allowance_lasts_as_long_as_its_window() -> None:
    store = Away()
    local = LocalAllowance(store)
    assert [admit(local, f"{n}") is not None for n in range(4)] == [True, True, True, False]
    tomorrow = Fixed(DAY.end_ms, DAY.end_ms + 86_400_000)
    later = [Charge(one.counter, one.unit, one.limit, one.amount, tomorrow) for one in CHARGES]
    assert admit(local, "next", DAY.end_ms, later) is not None
    await local.close()
