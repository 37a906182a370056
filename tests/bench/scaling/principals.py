"""What a caller costs the store: its memory, and what a reservation takes among so many of them."""

import random
import time
from collections.abc import Mapping, Sequence
from itertools import count
from typing import Any

import redis
import uvloop

from headrace.ext_proc.core.ledger import Admitted, Charge, Fixed
from headrace.ext_proc.stores.embedded import EmbeddedStore
from headrace.ext_proc.stores.redis import RedisStore
from tests.bench.store import HOUR_MS, alone, server_us

AT_ONCE = 100
BUDGETS = ("user-day", "user-month")
LEASE_MS = 600_000
_fresh = (str(number) for number in count())


def measured(principals: int, calls: int) -> Mapping[str, Any]:
    """Each principal has two counters; reservations of principals at random, one at a time."""
    with EmbeddedStore() as url, redis.Redis.from_url(url) as admin:
        admin.config_set("maxmemory", 0)
        return {"principals": principals, **uvloop.run(_measure(url, admin, principals, calls))}


async def _measure(url: str, admin: "redis.Redis", principals: int, calls: int) -> Mapping[str, float]:
    store = RedisStore(url, timeout_s=30)
    await store.ping()
    await _fill(store, principals)
    admin.config_resetstat()
    found = await alone(_reserving(store, principals), calls)
    await store.close()
    own = {"server_us": round(server_us(admin), 1), "bytes_each": round(_counters(admin) / principals)}
    last = f"hr:{{bench}}:lease:{int(next(_fresh)) - 1}"
    return {**found, **own, "lease_bytes": int(admin.memory_usage(last, samples=0) or 0)}


def _counters(admin: "redis.Redis") -> int:
    """Bytes of all counters, which are fields of a hash for each window: every one is looked at."""
    return sum(int(admin.memory_usage(key, samples=0) or 0) for key in admin.scan_iter("hr:{bench}:fixed:*", count=10_000))


def _charges(principal: int) -> Sequence[Charge]:
    now_ms = time.time_ns() // 1_000_000
    window = Fixed(now_ms - now_ms % HOUR_MS, now_ms - now_ms % HOUR_MS + 24 * HOUR_MS)
    return [Charge(f"{budget}:team-{principal % 1000}/user-{principal}", "tokens", 2**50, 1_000, window) for budget in BUDGETS]


async def _fill(store: RedisStore, principals: int) -> None:
    """Every principal has its counters; a lease is on many principals' at once, which is quicker and leaves the same."""
    for begin in range(0, principals, AT_ONCE):
        some = range(begin, min(begin + AT_ONCE, principals))
        now_ms = time.time_ns() // 1_000_000
        charges = [charge for each in some for charge in _charges(each)]
        await store.reserve("bench", next(_fresh), charges, now_ms=now_ms, ttl_ms=1)


def _reserving(store: RedisStore, principals: int) -> Any:
    chance = random.Random(7)

    async def call() -> None:
        now_ms = time.time_ns() // 1_000_000
        answer = await store.reserve("bench", next(_fresh), _charges(chance.randrange(principals)), now_ms=now_ms, ttl_ms=LEASE_MS)
        assert isinstance(answer, Admitted)

    return call
