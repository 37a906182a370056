"""The store within one process, for `headrace explain`, for policy tests and for tests of filters: nothing is shared or kept."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from time import time_ns

from headrace.ext_proc.core.ledger import (
    AMOUNT_MAX,
    EMPTY,
    Admitted,
    Charge,
    Closed,
    Closing,
    Entry,
    Exhausted,
    Fixed,
    Held,
    Reached,
    Record,
    Sliding,
    Spent,
    Unit,
    Window,
)
from headrace.ext_proc.core.ports import StoreUnavailable
from headrace.ext_proc.core.roster import Changes, Listed, Seen
from headrace.ext_proc.stores.arguments import (
    check_charges,
    check_closings,
    check_names,
    check_ttl,
    checked_spent,
    entry_id,
    outcome_of,
    tightest,
)
from headrace.ext_proc.stores.memory_rosters import Roster

BUCKETS = 60
"""Per sliding window, as in functions.lua."""
OVERTAKEN_MS = 60_000
"""How long a lease that was released before it was reserved is remembered, as in functions.lua."""
SLACK_MS = 60_000
"""A caller whose clock lags by less still meets the counter it charged, as in functions.lua."""

UNAPPLIED = Closed(False)

Key = tuple[str, str, Unit, Window]


def _width(window: Sliding) -> int:
    return -(-window.length_ms // BUCKETS)


def _bucket(at_ms: int, window: Window) -> int:
    """Which of a counter's sums an instant falls to; only a sliding window has more than one."""
    return at_ms // _width(window) if isinstance(window, Sliding) else 0


def _horizon(now_ms: int, window: Window) -> int:
    """The oldest bucket that counts."""
    return _bucket(now_ms - window.length_ms, window) if isinstance(window, Sliding) else 0


@dataclass(slots=True)
class _Draw:
    """What a lease has drawn on one counter."""

    charge: Charge
    key: Key
    bucket: int
    amount: int

    def counts(self, now_ms: int) -> bool:
        window = self.charge.window
        return now_ms < window.end_ms if isinstance(window, Fixed) else self.bucket >= _horizon(now_ms, window)


@dataclass(slots=True)
class _Lease:
    lapses_ms: int
    answer: Admitted | None
    """None: released before it was reserved."""
    draws: list[_Draw] = field(default_factory=list)
    """Empty once settled or released."""
    closed: bool = False
    by: str = ""
    told: Closed = UNAPPLIED
    """Who closed it, and what they were told."""
    record: Record = field(default_factory=dict)
    """As it is to be written down when the lease lapses."""


class MemoryStore:
    """A `Store` that forgets everything with its process. What has lapsed is dropped as it is met, and swept at every lease."""

    def __init__(self) -> None:
        self._sums: dict[Key, dict[int, int]] = {}
        self._told: dict[tuple[Key, int], int] = {}
        """(counter, threshold) → when it was told to be reached, epoch ms."""
        self._leases: dict[tuple[str, str], _Lease] = {}
        self._ledger: dict[str, list[tuple[tuple[int, int], Mapping[str, str]]]] = {}
        self._rosters: defaultdict[str, Roster] = defaultdict(Roster)
        self._closed = False

    def clear(self) -> None:
        """Forgets what was charged, as if nobody had ever asked; keys stay."""
        for kept in (self._sums, self._told, self._leases, self._ledger):
            kept.clear()

    async def reserve(
        self, organisation: str, lease: str, charges: Sequence[Charge], *, now_ms: int, ttl_ms: int, record: Record = EMPTY
    ) -> Admitted | Exhausted:
        self._check(organisation, lease)
        check_charges(charges, now_ms)
        check_ttl(ttl_ms)
        self._expire(now_ms)
        if known := self._lease(organisation, lease, now_ms):
            if known.answer is None:
                raise ValueError(f"lease {lease} was released before it was reserved")
            return known.answer
        self._sweep(now_ms)
        draws = [_Draw(charge, _key(organisation, charge), _bucket(now_ms, charge.window), 0) for charge in charges]
        answer = self._charge(draws, [charge.amount for charge in charges], now_ms)
        if isinstance(answer, Admitted):
            self._leases[organisation, lease] = _Lease(now_ms + ttl_ms, answer, draws, record=record)
        return answer

    async def extend(
        self, organisation: str, lease: str, amounts: Spent, *, now_ms: int, ttl_ms: int
    ) -> Admitted | Exhausted | None:
        self._check(organisation, lease)
        totals = checked_spent(amounts)
        check_ttl(ttl_ms)
        known = self._lease(organisation, lease, now_ms)
        if known is None or known.closed:
            return None
        more = [max(totals.get(draw.charge.unit, 0) - draw.amount, 0) for draw in known.draws]
        answer = self._charge(known.draws, more, now_ms)
        if isinstance(answer, Admitted):
            known.lapses_ms = max(known.lapses_ms, now_ms + ttl_ms)
            known.record = {name: _regrown(name, value, totals) for name, value in known.record.items()}
        return answer

    def _charge(self, draws: Sequence[_Draw], more: Sequence[int], now_ms: int) -> Admitted | Exhausted:
        """Add more[i] to draws[i], or nothing to any of them."""
        live = [self._live(draw.key, now_ms) for draw in draws]
        left = [draw.charge.limit - sum(amount for _, amount in sums) for draw, sums in zip(draws, live, strict=True)]
        asked = zip(draws, more, left, live, strict=True)
        if any(resets := [_resets(draw, amount, rest, sums, now_ms) for draw, amount, rest, sums in asked]):
            return tightest([max(rest, 0) for rest in left], resets)
        for draw, amount in zip(draws, more, strict=True):
            self._draw(draw, amount)
        return Admitted(tuple(max(rest - amount, 0) for rest, amount in zip(left, more, strict=True)))

    async def settle_many(self, organisation: str, closings: Sequence[Closing], *, now_ms: int) -> Sequence[Closed]:
        self._check(organisation, "settle")
        check_closings(organisation, closings)
        self._expire(now_ms)
        return [self._settled(organisation, closing, now_ms) for closing in closings]

    def _settled(self, organisation: str, closing: Closing, now_ms: int) -> Closed:
        known = self._lease(organisation, closing.lease, now_ms)
        if known is None and closing.spent is None:
            self._leases[organisation, closing.lease] = _Lease(now_ms + OVERTAKEN_MS, None, closed=True)
        if known is None or known.closed:
            return known.told if known and closing.by and known.by == closing.by else UNAPPLIED
        draws, known.draws, known.closed = known.draws, [], True
        self._write_down(organisation, closing.record, outcome_of(closing), now_ms)
        known.by, known.told = closing.by, self._corrected(draws, closing.spent, now_ms)
        return known.told

    def _corrected(self, draws: Sequence[_Draw], spent: Spent | None, now_ms: int) -> Closed:
        if spent is None:
            self._correct(draws, {draw.charge.unit: 0 for draw in draws})
            return Closed(True)
        self._correct(draws, checked_spent(spent))
        return Closed(True, tuple(reached for draw in draws for reached in self._reached(draw, now_ms)))

    def _write_down(self, organisation: str, record: Record, outcome: str, now_ms: int) -> None:
        if record:
            records = self._ledger.setdefault(organisation, [])
            number = records[-1][0][1] + 1 if records and records[-1][0][0] >= now_ms else 0
            place = (max(now_ms, records[-1][0][0]) if records else now_ms, number)
            records.append((place, {"at_ms": str(now_ms), **record, "outcome": outcome}))

    def _expire(self, now_ms: int) -> None:
        """Close and write down what has lapsed, in the order in which it did."""
        lapsed = [(lease.lapses_ms, name) for name, lease in self._leases.items() if lease.record and lease.lapses_ms <= now_ms]
        for lapses_ms, (organisation, name) in sorted(lapsed):
            lease = self._leases[organisation, name]
            if not lease.closed:
                lease.closed = True
                self._write_down(organisation, lease.record, "expired", lapses_ms)

    async def entries(self, organisation: str, *, after: str = "", limit: int = 1000) -> Sequence[Entry]:
        self._check(organisation, "entries")
        last = entry_id(after)
        later = (record for record in self._ledger.get(organisation, ()) if record[0] > last)
        return [Entry(f"{time}-{number}", members) for (time, number), members in islice(later, limit)]

    async def read(self, organisation: str, charges: Sequence[Charge], *, now_ms: int) -> tuple[int, ...]:
        self._check(organisation, "read")
        check_charges(charges, now_ms)
        return tuple(self._used(_key(organisation, charge), now_ms) for charge in charges)

    async def enrol(self, roster: str, id: str, value: bytes, *, revision: int = 0) -> int:
        self._check(roster, id)
        return self._rosters[roster].enrol(id, value, revision)

    async def listed(self, roster: str, id: str) -> Listed | None:
        self._check(roster, id)
        return self._rosters[roster].records.get(id)

    async def listed_since(self, roster: str, revision: int, *, limit: int = 1000) -> Sequence[Listed]:
        self._check(roster, "since")
        return self._rosters[roster].since(revision, limit)

    async def changes(self, roster: str, seen: Seen, *, limit: int = 1000) -> Changes:
        self._check(roster, "changes")
        return self._rosters[roster].changes(seen, limit)

    async def time_ms(self) -> int:
        self._check("keys", "time")
        return time_ns() // 1_000_000

    async def ping(self) -> None:
        self._check("keys", "ping")

    async def close(self) -> None:
        self._closed = True

    def _check(self, organisation: str, lease: str) -> None:
        if self._closed:
            raise StoreUnavailable("the store is closed")
        check_names(organisation, lease)

    def _lease(self, organisation: str, lease: str, now_ms: int) -> _Lease | None:
        known = self._leases.get((organisation, lease))
        return known if known and now_ms < known.lapses_ms else None

    def _live(self, key: Key, now_ms: int) -> list[tuple[int, int]]:
        """(bucket, sum) of what counts now, oldest first."""
        if isinstance(key[3], Held):
            running = (lease for lease in self._leases.values() if now_ms < lease.lapses_ms)
            return [(0, sum(draw.amount for lease in running for draw in lease.draws if draw.key == key))]
        horizon = _horizon(now_ms, key[3])
        return sorted((bucket, amount) for bucket, amount in self._sums.get(key, {}).items() if bucket >= horizon)

    def _used(self, key: Key, now_ms: int) -> int:
        return sum(amount for _, amount in self._live(key, now_ms))

    def _draw(self, draw: _Draw, more: int) -> None:
        draw.amount += more
        if not isinstance(draw.charge.window, Held):
            sums = self._sums.setdefault(draw.key, {})
            sums[draw.bucket] = sums.get(draw.bucket, 0) + more

    def _correct(self, draws: Sequence[_Draw], actual: Mapping[Unit, int]) -> None:
        for draw in draws:
            sums = self._sums.get(draw.key, {})
            if draw.bucket in sums:
                corrected = sums[draw.bucket] + actual.get(draw.charge.unit, draw.amount) - draw.amount
                sums[draw.bucket] = min(max(corrected, 0), AMOUNT_MAX)

    def _reached(self, draw: _Draw, now_ms: int) -> Iterator[Reached]:
        charge, used = draw.charge, self._used(draw.key, now_ms)
        for threshold in charge.warn:
            if used >= threshold and draw.counts(now_ms) and not self._was_told(draw.key, threshold, now_ms):
                self._told[draw.key, threshold] = now_ms
                yield Reached(charge.counter, charge.unit, charge.limit, threshold, used, charge.window)

    def _was_told(self, key: Key, threshold: int, now_ms: int) -> bool:
        window, told_ms = key[3], self._told.get((key, threshold))
        return told_ms is not None and (not isinstance(window, Sliding) or now_ms < told_ms + window.length_ms)

    def _sweep(self, now_ms: int) -> None:
        """Forget what has lapsed. Linear: this store serves tests and explanations, not traffic."""
        self._leases = {name: lease for name, lease in self._leases.items() if now_ms < lease.lapses_ms}
        for key in list(self._sums):
            window = key[3]
            if isinstance(window, Fixed) and window.end_ms + SLACK_MS <= now_ms:
                del self._sums[key]
            elif isinstance(window, Sliding):
                horizon = _horizon(now_ms, window)
                self._sums[key] = {bucket: amount for bucket, amount in self._sums[key].items() if bucket >= horizon}
        self._told = {(key, threshold): at for (key, threshold), at in self._told.items() if self._was_told(key, threshold, now_ms)}


def _resets(draw: _Draw, more: int, left: int, live: Sequence[tuple[int, int]], now_ms: int) -> int:
    """When the counter can hold `more`, or is empty; 0 when it can hold it now. left: of its limit. live: sums, oldest first."""
    window, over = draw.charge.window, more - left
    grows = more > 0 or not draw.amount  # of an extension, those that stay as they are do not refuse
    if over <= 0 or not grows or not draw.counts(now_ms):
        return 0
    if not isinstance(window, Sliding):
        return window.end_ms if isinstance(window, Fixed) else now_ms
    last = _bucket(now_ms, window)
    for bucket, amount in live:
        last, over = bucket, over - amount
        if over <= 0:
            break
    return (last + 1) * _width(window) + window.length_ms


def _regrown(name: str, value: str, totals: Mapping[Unit, int]) -> str:
    """A member of a record after an extension; those that are named as units are what is reserved."""
    total = next((amount for unit, amount in totals.items() if unit == name), None)
    return value if total is None else str(max(total, int(value)))


def _key(organisation: str, charge: Charge) -> Key:
    return organisation, charge.counter, charge.unit, charge.window
