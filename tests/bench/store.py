"""What a reservation costs: `python -m tests.bench.store` prints one JSON document, `--table` a table for people.

A private Valkey over a Unix socket, uvloop. `levels`: of the caller, from the organisation down, each with a budget for each of two
fixed windows, or with a sliding one. `alone`: one call at a time. `together`: 32 callers at once, over the store's link (calls due
in one tick go out in one write) and over redis-py's pool, one connection per call in flight.
"""

import argparse
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
from headrace.ext_proc.stores.wire import lease_key, ledger_key, open_key

CALLERS = 32
LEVELS = ("organisation", "team", "app", "user", "key", "model")
ROUNDS = 3
TTL_MS = 600_000
HOUR_MS = 3_600_000
_fresh = (str(number) for number in count())


def charges_of(levels: int, *, sliding: bool = False) -> list[Charge]:
    """Two counters a level; one, where they slide."""
    now_ms = time.time_ns() // 1_000_000
    windows: list[Window] = [Fixed(now_ms - HOUR_MS, now_ms + HOUR_MS), Fixed(now_ms - 2 * HOUR_MS, now_ms + 2 * HOUR_MS)]
    windows = [Sliding(HOUR_MS)] if sliding else windows
    names = [f"{level}-budget:research/ann" for level in LEVELS[:levels]]
    return [Charge(name, "tokens", 2**50, 1_000, window) for name in names for window in windows]


Call = Callable[[], Awaitable[Any]]


async def alone(call: Call, calls: int) -> dict[str, float]:
    took = []
    for _ in range(calls // 4):
        began = time.perf_counter()
        await call()
        took.append(time.perf_counter() - began)
    cuts = statistics.quantiles(took, n=100)
    return {"p50_us": round(cuts[49] * 1e6, 1), "p99_us": round(cuts[98] * 1e6, 1), "calls_per_s": round(len(took) / sum(took))}


async def together(call: Call, calls: int) -> dict[str, float]:
    """`worker_us`: CPU time of this process per call, callers included."""

    async def caller() -> None:
        for _ in range(each):
            await call()

    each = calls // CALLERS
    calls = each * CALLERS
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
        keys = (lease_key("bench", next(_fresh)), ledger_key("bench"), open_key("bench"))
        told, plan = msgspec.msgpack.encode((time.time_ns() // 1_000_000, TTL_MS, [])), msgspec.msgpack.encode([])
        await client.fcall(f"headrace_{VERSION.decode()}_reserve", len(keys), *keys, told, plan, b"")

    return call


def subjects(store: RedisStore, client: "redis.asyncio.Redis") -> list[tuple[str, int, Call]]:
    """(what, counters of one lease, the call)"""
    each = [(f"{n} level{'s' * (n > 1)}", charges_of(n)) for n in range(1, len(LEVELS) + 1)]
    leases = [("no budget", []), *each, ("6 levels, sliding", charges_of(6, sliding=True))]
    found = [(name, len(charges), reserving(store, charges)) for name, charges in leases]
    return [*found, ("no budget, redis-py's pool", 0, pooled(client))]


async def measure(url: str, admin: "redis.Redis", calls: int) -> list[dict[str, Any]]:
    store = RedisStore(url, timeout_s=5)
    client = redis.asyncio.Redis.from_url(url, max_connections=CALLERS)
    await store.ping()
    rows = []
    for name, counters, call in [subject for _ in range(ROUNDS) for subject in subjects(store, client)]:
        admin.config_resetstat()
        row = {"name": name, "counters": counters, "alone": await alone(call, calls), "together": await together(call, calls)}
        rows.append({**row, "server_us": server_us(admin)})
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


def table(runs: list[dict[str, Any]]) -> str:
    """Markdown."""
    lines = ["| | counters | alone, p50 ms | p99 ms | 32 at once, reservations/s | server, µs each |", "|---|---|---|---|---|---|"]
    for run in runs:
        alone, together = run["alone"], run["together"]
        times = f"{alone['p50_us'] / 1000:.3f} | {alone['p99_us'] / 1000:.3f}"
        lines.append(f"| {run['name']} | {run['counters']:g} | {times} | {together['calls_per_s']:,.0f} | {run['server_us']:.0f} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description="What a reservation costs, against the number of levels.")
    parser.add_argument("--calls", type=int, default=6_000, help="of each measurement; a quarter of them one at a time")
    parser.add_argument("--table", action="store_true", help="a table instead of JSON")
    chosen = parser.parse_args()
    with EmbeddedStore() as url, redis.Redis.from_url(url) as admin:
        rows = uvloop.run(measure(url, admin, chosen.calls))
    names = list(dict.fromkeys(row["name"] for row in rows))
    runs = [medians([row for row in rows if row["name"] == name]) for name in names]
    print(table(runs) if chosen.table else json.dumps({"runs": runs}, indent=1))


if __name__ == "__main__":
    main()
