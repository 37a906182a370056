"""What the workers have counted, remembered for an hour: the overview shows how it grows."""

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise

from headrace.ext_proc.admin.operation import utc_now
from headrace.ext_proc.telemetry import metrics
from headrace.ext_proc.telemetry.exposition import Key

TICK_S = 5.0
"""As often as the workers report, see service/slot.py."""
KEPT = 3_600 // 5 + 1
"""Readings of some hundred numbers: less than 10 MB."""
REFUSED = "refused"

Sums = Mapping[Key, float]


@dataclass(frozen=True, slots=True)
class Reading:
    """Sums over all workers at one moment. requests: by (outcome, reason). added: by upper bound, cumulative, in seconds."""

    at: datetime
    requests: Mapping[tuple[str, str], float]
    tokens: Mapping[str, float]
    usd: float
    added: Mapping[float, float]
    failovers: Mapping[tuple[str, str], float]
    gauges: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Growth:
    """Between two readings. passed, refused: requests; reasons: of those refused."""

    start: datetime
    end: datetime
    requests: Counter[tuple[str, str]] = field(default_factory=Counter)
    tokens: Counter[str] = field(default_factory=Counter)
    usd: float = 0.0
    added: Mapping[float, float] = field(default_factory=dict)
    failovers: Counter[tuple[str, str]] = field(default_factory=Counter)

    @property
    def total(self) -> int:
        return int(self.requests.total())

    @property
    def reasons(self) -> Counter[str]:
        found: Counter[str] = Counter()
        for (outcome, reason), count in self.requests.items():
            if outcome == REFUSED and count:
                found[reason] += int(count)
        return found

    @property
    def refused(self) -> int:
        return self.reasons.total()

    @property
    def minutes(self) -> float:
        return (self.end - self.start).total_seconds() / 60

    def quantile(self, share: float) -> float | None:
        """Seconds that Headrace took for `share` of the requests; None without requests. Within a bucket, evenly spread."""
        wanted, below, bound_below = share * max(self.added.values(), default=0.0), 0.0, 0.0
        if not wanted:
            return None
        for bound, count in sorted(self.added.items()):
            if count >= wanted:
                whole = bound if bound != float("inf") else bound_below
                return bound_below + (whole - bound_below) * (wanted - below) / (count - below)
            below, bound_below = count, bound
        return bound_below


class Counts:
    """sums: what all workers have counted, those that have ended included."""

    def __init__(self, sums: Callable[[], Sums], now: Callable[[], datetime] = utc_now) -> None:
        self._sums, self._now = sums, now
        self._readings: deque[Reading] = deque(maxlen=KEPT)

    async def run(self, after: Callable[[], object]) -> None:
        """Reads until it is cancelled. after: called after each reading."""
        while True:
            self.read()
            after()
            await asyncio.sleep(TICK_S)

    def read(self) -> None:
        self._readings.append(reading_of(self._sums(), self._now()))

    @property
    def gauges(self) -> Mapping[str, float]:
        return self._readings[-1].gauges if self._readings else {}

    def growth(self, seconds: float) -> Growth:
        """Over the last `seconds`, or as far back as readings go."""
        found = self._since(seconds)
        return _growth(found[0], found[-1]) if found else Growth(self._now(), self._now())

    def steps(self, seconds: float, count: int) -> Sequence[Growth]:
        """The same in `count` steps of equal length, the latest last; before the first reading nothing grew."""
        found = self._since(seconds)
        if not found:
            return ()
        end, length = found[-1].at.timestamp(), seconds / count
        chosen = [_latest(found, end - length * (count - index)) for index in range(count + 1)]
        return [_growth(one, next) for one, next in pairwise(chosen)]

    def _since(self, seconds: float) -> Sequence[Reading]:
        """The last reading before the time, and all after it."""
        if not self._readings:
            return ()
        begin = self._readings[-1].at.timestamp() - seconds
        later = [one for one in self._readings if one.at.timestamp() > begin]
        earlier = len(self._readings) - len(later)
        return [self._readings[earlier - 1], *later] if earlier else later


def _latest(found: Sequence[Reading], at: float) -> Reading:
    """The last one up to `at`; else the first there is."""
    return next((one for one in reversed(found) if one.at.timestamp() <= at + 1e-6), found[0])


def reading_of(sums: Sums, at: datetime) -> Reading:
    """From the samples of `telemetry/metrics.py`."""
    requests = _by(sums, metrics.REQUESTS.name, "outcome", "reason")
    tokens = _by(sums, metrics.TOKEN_COUNT.name, "kind")
    buckets: Counter[float] = Counter()
    for labels, value in _of(sums, f"{metrics.ADDED.name}_bucket"):
        buckets[float(labels["le"])] += value  # type: ignore[assignment]  # counts are floats in samples
    gauges = (metrics.EFFECTS_WAITING, metrics.ACTIVE_STREAMS, metrics.OFFLOAD_WAITING)
    return Reading(
        at=at,
        requests={(outcome, reason): value for (outcome, reason), value in requests.items()},
        tokens={kind: value for (kind,), value in tokens.items()},
        usd=sum(value for _, value in _of(sums, f"{metrics.SPEND.name}_total")),
        added=buckets,
        failovers={(failed, to): value for (failed, to), value in _by(sums, metrics.FAILOVERS.name, "failed", "upstream").items()},
        gauges={family.name: sum(value for _, value in _of(sums, family.name)) for family in gauges},
    )


def _of(sums: Sums, name: str) -> Iterable[tuple[Mapping[str, str], float]]:
    return ((dict(labels), value) for (sample, labels), value in sums.items() if sample == name)


def _by(sums: Sums, family: str, *labels: str) -> Mapping[tuple[str, ...], float]:
    found: dict[tuple[str, ...], float] = {}
    for named, value in _of(sums, f"{family}_total"):
        key = tuple(named[label] for label in labels)
        found[key] = found.get(key, 0.0) + value
    return found


def _growth(old: Reading, new: Reading) -> Growth:
    return Growth(
        start=old.at,
        end=new.at,
        requests=Counter({key: int(value - old.requests.get(key, 0)) for key, value in new.requests.items()}),
        tokens=Counter({kind: int(value - old.tokens.get(kind, 0)) for kind, value in new.tokens.items()}),
        usd=new.usd - old.usd,
        added={bound: value - old.added.get(bound, 0) for bound, value in new.added.items()},
        failovers=Counter({key: int(value - old.failovers.get(key, 0)) for key, value in new.failovers.items()}),
    )
