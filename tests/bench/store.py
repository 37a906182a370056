"""What a reservation costs: `python tests/bench/store.py` prints one JSON document.

A private Valkey over a Unix socket, uvloop. `counters`: charges of one lease, over two fixed windows as a policy with three
levels has them, or six sliding ones. `alone`: one call at a time. `together`: 32 callers at once, over the store's link
(calls due in one tick go out in one write) and over redis-py's pool, one connection per call in flight.
"""

import asyncio
import json
import statistics
import time
from collections.abc import Awaitable, Callable
from itertools import count
from typing import Any

import msgspec
import redis
import redis.asyncio
import uvloop

from headrace.ext_proc.core.ledger import Admitted, Charge, Fixed, Sliding, Window
from headrace.ext_proc.stores.embedded import EmbeddedStore
from headrace.ext_proc.stores.redis import VERSION, RedisStore

CALLERS = 32
CALLS = 6_000
ROUNDS = 3
TTL_MS = 600_000
HOUR_MS = 3_600_000
_fresh = (str(number) for number in count())


def charges_of(counters: int, *, sliding: bool = False) -> list[Charge]:
    now_ms = time.time_ns() // 1_000_000
    windows: list[Window] = [Fixed(now_ms - HOUR_MS, now_ms + HOUR_MS), Fixed(now_ms - 2 * HOUR_MS, now_ms + 2 * HOUR_MS)]
    windows = [Sliding(HOUR_MS)] if sliding else windows
    return [Charge(f"level-{n}:research/ann", "tokens", 2**50, 1_000 + n, windows[n % len(windows)]) for n in range(counters)]


Call = Callable[[], Awaitable[Any]]


async def alone(call: Call) -> dict[str, float]:
    took = []
    for _ in range(CALLS // 4):
        began = time.perf_counter()
        await call()
        took.append(time.perf_counter() - began)
    cuts = statistics.quantiles(took, n=100)
    return {"p50_us": round(cuts[49] * 1e6, 1), "p99_us": round(cuts[98] * 1e6, 1), "calls_per_s": round(len(took) / sum(took))}


async def together(call: Call) -> dict[str, float]:
    """`worker_us`: CPU time of this process per call, callers included."""

    async def caller() -> None:
        for _ in range(CALLS // CALLERS):
            await call()

    calls = CALLS // CALLERS * CALLERS
    began, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*(caller() for _ in range(CALLERS)))
    took, used = time.perf_counter() - began, time.process_time() - cpu
    return {"calls_per_s": round(calls / took), "worker_us": round(used / calls * 1e6, 1)}


def server_us(admin: "redis.Redis") -> float:
    """CPU time of the server per function call since the last reset."""
    stats: dict[str, Any] = admin.info("commandstats")
    return float(stats["cmdstat_fcall"]["usec_per_call"])


def reserving(store: RedisStore, charges: list[Charge]) -> Call:
    async def call() -> None:
        now_ms = time.time_ns() // 1_000_000
        answer = await store.reserve("bench", next(_fresh), charges, now_ms=now_ms, ttl_ms=TTL_MS)
        assert isinstance(answer, Admitted)

    return call


def pooled(client: "redis.asyncio.Redis") -> Call:
    """A lease of no counters: the least that a call over the pool costs the worker, whatever it asks for."""

    async def call() -> None:
        told = msgspec.msgpack.encode((time.time_ns() // 1_000_000, TTL_MS, []))
        await client.fcall(f"headrace_{VERSION.decode()}_reserve", 1, f"hr:{{bench}}:lease:{next(_fresh)}", told)

    return call


async def measure(url: str, admin: "redis.Redis") -> list[dict[str, Any]]:
    store = RedisStore(url, timeout_s=5)
    client = redis.asyncio.Redis.from_url(url, max_connections=CALLERS)
    subjects: list[tuple[str, Call]] = [
        ("6 counters", reserving(store, charges_of(6))),
        ("12 counters", reserving(store, charges_of(12))),
        ("6 sliding counters", reserving(store, charges_of(6, sliding=True))),
        ("no counters", reserving(store, [])),
        ("no counters, redis-py's pool", pooled(client)),
    ]
    await store.ping()
    rows = []
    for name, call in [subject for _ in range(ROUNDS) for subject in subjects]:
        admin.config_resetstat()
        rows.append({"name": name, "alone": await alone(call), "together": await together(call), "server_us": server_us(admin)})
    await store.close()
    await client.aclose()
    return rows


def medians(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The median of every figure over the rounds."""
    first = rows[0]
    return {
        key: value if isinstance(value, str) else medians([row[key] for row in rows]) if isinstance(value, dict)
        else statistics.median(row[key] for row in rows)
        for key, value in first.items()
    }  # fmt: skip


def main() -> None:
    server = EmbeddedStore()
    try:
        url = server.start()
        with redis.Redis.from_url(url) as admin:
            rows = uvloop.run(measure(url, admin))
    finally:
        server.stop()
    names = list(dict.fromkeys(row["name"] for row in rows))
    print(json.dumps({"runs": [medians([row for row in rows if row["name"] == name]) for name in names]}, indent=1))


if __name__ == "__main__":
    main()
