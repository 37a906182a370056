"""What a failover adds: `python -m tests.bench.failover`. One caller, whole path, one request after the other.

The pool that fails answers at once; so the difference to a pool that answers is what the second attempt costs. Of the failures 429
alone is not counted by outlier detection: after five of the others the pool is left out.
"""

import asyncio
import contextlib
import sys
import time
from collections.abc import AsyncIterator, Sequence
from statistics import quantiles
from typing import Final

from headrace.ext_proc.cli.simulate import SimulatedPool
from tests.e2e.site import Caller, chat
from tests.e2e.test_failover import Failing, failing_site
from tests.e2e.test_upstream_failures import closed_port

REQUESTS: Final = 500
WARM_UP: Final = 20
ASKED: Final = chat(max_tokens=4)


async def measure(requests: int = REQUESTS) -> dict[str, Sequence[float]]:
    """Case → milliseconds of each request. Raises AssertionError where a pool other than the expected one answered."""
    async with SimulatedPool("standard") as sound, failing_site(sound.url) as site:
        found = {"the first pool answers": await _times(site, requests, "standard")}
    async with failing_site() as site:
        await site.refuse(429)
        found["the first pool says 429"] = await _times(site, requests, "large")
    async with _down() as site:
        found["the first pool is down, and left out"] = await _times(site, requests, "large")
    return found


@contextlib.asynccontextmanager
async def _down() -> AsyncIterator[Failing]:
    with closed_port() as port:
        async with failing_site(f"http://127.0.0.1:{port}") as site:
            yield site


async def _times(failing: Failing, requests: int, by: str) -> Sequence[float]:
    caller = await failing.site.caller()
    for _ in range(WARM_UP):
        await _time(failing, caller, by)
    return [await _time(failing, caller, by) for _ in range(requests)]


async def _time(failing: Failing, caller: Caller, by: str) -> float:
    started = time.perf_counter()
    answer = await failing.site.post(caller, ASKED)
    took = (time.perf_counter() - started) * 1000
    assert (answer.status_code, answer.headers["x-headrace-route"]) == (200, by), answer.text
    return took


def summary(found: dict[str, Sequence[float]]) -> list[str]:
    """A line a case: median and 99th percentile in ms, and what they are above the first case's."""
    lines = []
    first: tuple[float, float] | None = None
    for case, times in found.items():
        cuts = quantiles(times, n=100)
        p50, p99 = cuts[49], cuts[98]
        first = first or (p50, p99)
        lines.append(f"{case:38} p50 {p50:7.2f} ms  p99 {p99:7.2f} ms   added: {p50 - first[0]:+7.2f} {p99 - first[1]:+7.2f}")
    return lines


if __name__ == "__main__":
    print("\n".join(summary(asyncio.run(measure(int(sys.argv[1]) if len(sys.argv) > 1 else REQUESTS)))))
