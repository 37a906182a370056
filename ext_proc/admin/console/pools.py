"""How the upstreams do, by the latest settlements in the decision log."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING

from headrace.ext_proc.admin.console.log import LogUnreadable, Record

if TYPE_CHECKING:
    from headrace.ext_proc.admin.console.frame import Console

LATEST = 1_000
"""Settlements that are looked at: 600 KB of the log, 10 ms on a thread."""
SERVER_ERROR = 500


@dataclass(slots=True)
class Pool:
    """One upstream in the latest settlements. failed: answers of 500 and above. failovers: requests that left it for another."""

    name: str
    requests: int = 0
    failed: int = 0
    tokens: int = 0
    failovers: int = 0
    last: str = ""
    durations_ms: list[float] = field(default_factory=list)

    @property
    def seconds(self) -> float | None:
        """Half of the answers took no longer."""
        return median(self.durations_ms) / 1000 if self.durations_ms else None

    @property
    def state(self) -> str:
        if self.failed * 2 > self.requests:
            return "failing"
        return "errors" if self.failed or self.failovers else "well"


async def pools_of(console: "Console") -> Sequence[Pool] | None:
    """By name; None where there is no log to read."""
    if console.decisions is None:
        return None
    try:
        records = await console.decisions.latest("settlement", LATEST)
    except LogUnreadable:
        return None
    growth = console.counts.growth(3600)
    left = {failed: count for (failed, _), count in growth.failovers.items() if count}
    return sorted(_pools(records, left).values(), key=lambda pool: pool.name)


def _pools(records: Sequence[Record], left: Mapping[str, int]) -> Mapping[str, Pool]:
    found: dict[str, Pool] = {}
    for record in records:
        name = record.get("upstream") or record.get("route")
        if isinstance(name, str) and name:
            _add(found.setdefault(name, Pool(name)), record)
    for name, count in left.items():
        found.setdefault(name, Pool(name)).failovers = count
    return found


def _add(pool: Pool, record: Record) -> None:
    pool.requests += 1
    pool.last = pool.last or record.get("time", "")
    pool.failed += record.get("status", 0) >= SERVER_ERROR
    usage = record.get("usage", {})
    pool.tokens += usage.get("input_tokens", 0) + usage.get("output_tokens", 0)
    if "duration_ms" in record:
        pool.durations_ms.append(record["duration_ms"])
