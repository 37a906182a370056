"""How one budget was used up in its running window, and what follows if that goes on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from headrace.ext_proc.admin.console.charts import Frame, Point
from headrace.ext_proc.core.ledger import Fixed, Sliding, Unit
from headrace.ext_proc.core.ports import Store
from headrace.ext_proc.core.principal import Principal
from headrace.ext_proc.engine.budgets.desk import Standing
from headrace.ext_proc.engine.budgets.limits import MINUTE_MS, Limit
from headrace.ext_proc.engine.usage.reading import records

MOST_RECORDS = 100_000
"""Of the ledger, as engine/budgets/callers.py reads."""
POINTS = 240
"""Of the line; a screen shows no more."""
SOON: Final = 0.02
"""Of the window: before so much of it has passed, nothing is projected."""


@dataclass(frozen=True, slots=True)
class Burndown:
    """used: (epoch ms, amount) as it rose. empty_ms: when nothing is left at the pace so far; None: not before the end.
    at_end: what is used by the end; None where nothing can be said. fixed: it is a window that ends.
    """

    start_ms: int
    end_ms: int
    now_ms: int
    limit: int
    used: Sequence[Point]
    fixed: bool
    at_end: int | None = None
    empty_ms: int | None = None

    @property
    def frame(self) -> Frame:
        return Frame(self.start_ms, self.end_ms, max(self.limit, self.used[-1][1], min(self.at_end or 0, self.limit * 1.25)) * 1.05)

    @property
    def line(self) -> str:
        return self.frame.steps(self.used)

    @property
    def projected(self) -> str:
        """From now to the end at the pace so far; empty where nothing can be said."""
        if self.at_end is None:
            return ""
        return self.frame.line([(self.now_ms, self.used[-1][1]), (self.end_ms, self.at_end)])


async def burndown(store: Store, limit: Limit, standing: Standing, model: str, now_ms: int) -> Burndown | None:
    """None for what runs at once, which has no past. Raises StoreUnavailable."""
    named: Mapping[str, str] = {"organisation": standing.organisation, **standing.whom}
    who = Principal(**{level: value for level, value in named.items() if level != "model" and value})
    window = limit.slot(who, model, now_ms // MINUTE_MS).window
    match window:
        case Fixed(start_ms=start, end_ms=end):
            fixed = True
        case Sliding(length_ms=length):
            start, end, fixed = now_ms - length, now_ms, False
        case _:
            return None
    found = await _charges(store, limit, named, start, now_ms)
    used = _rising(found, start, now_ms, standing.used)
    at_end, empty = _projected(standing, start, end, now_ms) if fixed else (None, None)
    return Burndown(start, end, now_ms, standing.limit, used, fixed, at_end, empty)


async def _charges(store: Store, limit: Limit, named: Mapping[str, str], start_ms: int, now_ms: int) -> Sequence[tuple[int, int]]:
    """What each request of this counter was charged, by the ledger, oldest first."""
    wanted = {level: named.get(level, "") for level in limit.per}
    found: list[tuple[int, int]] = []
    read = 0
    async for record in records(store, named["organisation"], start_ms, now_ms + 1):
        read += 1
        own = all(record.get(level, "") == value for level, value in wanted.items() if level != "organisation")
        if own and record.get("outcome") != "released":
            found.append((int(record["at_ms"]), charge_of(record, limit.unit)))
        if read >= MOST_RECORDS:
            break
    return sorted(found)


def charge_of(record: Mapping[str, str], unit: Unit) -> int:
    """In the budget's unit."""
    match unit:
        case "requests":
            return 1
        case "tokens":
            return int(record.get("input_tokens", 0)) + int(record.get("output_tokens", 0))
        case _:
            return int(record.get(unit, 0))


def _rising(charges: Sequence[tuple[int, int]], start_ms: int, now_ms: int, used: int) -> Sequence[Point]:
    """Sums, at POINTS times at most; the last is what the counter holds, requests under way included."""
    points: list[Point] = [(start_ms, 0)]
    total, step = 0, max(1, -(-len(charges) // POINTS))
    for number, (at_ms, amount) in enumerate(charges, 1):
        total += amount
        if number % step == 0 or number == len(charges):
            points.append((at_ms, total))
    return [*points, (now_ms, used)]


def _projected(standing: Standing, start_ms: int, end_ms: int, now_ms: int) -> tuple[int | None, int | None]:
    """What is used at the window's end, and when nothing is left, at the pace of the window so far."""
    passed = now_ms - start_ms
    if passed < (end_ms - start_ms) * SOON:
        return None, None
    pace = standing.used / passed
    at_end = round(pace * (end_ms - start_ms))
    if not pace or at_end <= standing.limit:
        return at_end, None
    return at_end, max(now_ms, start_ms + round(standing.limit / pace))
