"""The store within one process, for `headrace explain`, for policy tests and for tests of filters: nothing is shared or kept."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from headrace.ext_proc.core.ledger import AMOUNT_MAX, Admitted, Charge, Exhausted, Fixed, Sliding, Spent, Unit, Window
from headrace.ext_proc.core.ports import StoreUnavailable
from headrace.ext_proc.stores.arguments import check_charges, check_names, check_ttl, checked_spent, tightest

BUCKETS = 60
"""Per sliding window, as in functions.lua."""
OVERTAKEN_MS = 60_000
"""How long a lease that was released before it was reserved is remembered, as in functions.lua."""

Key = tuple[str, str, Unit, Window]


def _width(window: Sliding) -> int:
    return -(-window.length_ms // BUCKETS)


def _bucket(at_ms: int, window: Window) -> int:
    """Which of a counter's sums an instant falls to; a fixed window has one."""
    return 0 if isinstance(window, Fixed) else at_ms // _width(window)


def _horizon(now_ms: int, window: Window) -> int:
    """The oldest bucket that counts."""
    return 0 if isinstance(window, Fixed) else _bucket(now_ms - window.length_ms, window)


@dataclass(slots=True)
class _Lease:
    lapses_ms: int
    answer: Admitted | None
    """None: released before it was reserved."""
    draws: list[tuple[Key, int, int]] = field(default_factory=list)
    """Counter, bucket, reserved amount; empty once settled or released."""
    closed: bool = False


class MemoryStore:
    """A `Store` that forgets everything with its process. What has lapsed is dropped as it is met, and swept at every lease."""

    def __init__(self) -> None:
        self._sums: dict[Key, dict[int, int]] = {}
        self._leases: dict[tuple[str, str], _Lease] = {}
        self._keys: dict[str, bytes] = {}
        self._closed = False

    async def reserve(
        self, organisation: str, lease: str, charges: Sequence[Charge], *, now_ms: int, ttl_ms: int
    ) -> Admitted | Exhausted:
        self._check(organisation, lease)
        check_charges(charges, now_ms)
        check_ttl(ttl_ms)
        if known := self._lease(organisation, lease, now_ms):
            if known.answer is None:
                raise ValueError(f"lease {lease} was released before it was reserved")
            return known.answer
        self._sweep(now_ms)
        left = [max(charge.limit - self._used(organisation, charge, now_ms), 0) for charge in charges]
        if any(resets := [self._resets(organisation, charge, now_ms) for charge in charges]):
            return tightest(left, resets)
        answer = Admitted(tuple(rest - charge.amount for rest, charge in zip(left, charges, strict=True)))
        draws = [self._draw(organisation, charge, now_ms) for charge in charges]
        self._leases[organisation, lease] = _Lease(now_ms + ttl_ms, answer, draws)
        return answer

    async def settle(self, organisation: str, lease: str, spent: Spent, *, now_ms: int) -> bool:
        self._check(organisation, lease)
        return self._close(self._lease(organisation, lease, now_ms), checked_spent(spent))

    async def release(self, organisation: str, lease: str, *, now_ms: int) -> bool:
        self._check(organisation, lease)
        known = self._lease(organisation, lease, now_ms)
        if known is None:
            self._leases[organisation, lease] = _Lease(now_ms + OVERTAKEN_MS, None, closed=True)
            return False
        return self._close(known, {unit: 0 for (_, _, unit, _), _, _ in known.draws})

    async def read(self, organisation: str, charges: Sequence[Charge], *, now_ms: int) -> tuple[int, ...]:
        self._check(organisation, "read")
        check_charges(charges, now_ms)
        return tuple(self._used(organisation, charge, now_ms) for charge in charges)

    async def get_key(self, digest: str) -> bytes | None:
        self._check("keys", digest)
        return self._keys.get(digest)

    async def put_key(self, digest: str, value: bytes) -> None:
        self._check("keys", digest)
        self._keys[digest] = value

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

    def _live(self, organisation: str, charge: Charge, now_ms: int) -> list[tuple[int, int]]:
        """(bucket, sum) of what counts now, oldest first."""
        horizon = _horizon(now_ms, charge.window)
        sums = self._sums.get(_key(organisation, charge), {})
        return sorted((bucket, amount) for bucket, amount in sums.items() if bucket >= horizon)

    def _used(self, organisation: str, charge: Charge, now_ms: int) -> int:
        return sum(amount for _, amount in self._live(organisation, charge, now_ms))

    def _resets(self, organisation: str, charge: Charge, now_ms: int) -> int:
        """The instant at which the counter can hold its charge, or is empty; 0 when it can hold it now."""
        window, live = charge.window, self._live(organisation, charge, now_ms)
        over = sum(amount for _, amount in live) + charge.amount - charge.limit
        if over <= 0:
            return 0
        if isinstance(window, Fixed):
            return window.end_ms
        last = _bucket(now_ms, window)
        for bucket, amount in live:
            last, over = bucket, over - amount
            if over <= 0:
                break
        return (last + 1) * _width(window) + window.length_ms

    def _draw(self, organisation: str, charge: Charge, now_ms: int) -> tuple[Key, int, int]:
        key, bucket = _key(organisation, charge), _bucket(now_ms, charge.window)
        sums = self._sums.setdefault(key, {})
        sums[bucket] = sums.get(bucket, 0) + charge.amount
        return key, bucket, charge.amount

    def _close(self, known: _Lease | None, actual: Mapping[Unit, int]) -> bool:
        if known is None or known.closed:
            return False
        for key, bucket, reserved in known.draws:
            sums = self._sums.get(key, {})
            if bucket in sums:
                sums[bucket] = min(max(sums[bucket] + actual.get(key[2], reserved) - reserved, 0), AMOUNT_MAX)
        known.closed, known.draws = True, []
        return True

    def _sweep(self, now_ms: int) -> None:
        """Forget what has lapsed. Linear: this store serves tests and explanations, not traffic."""
        self._leases = {name: lease for name, lease in self._leases.items() if now_ms < lease.lapses_ms}
        for key in list(self._sums):
            window = key[3]
            if isinstance(window, Fixed) and window.end_ms <= now_ms:
                del self._sums[key]
            elif isinstance(window, Sliding):
                horizon = _horizon(now_ms, window)
                self._sums[key] = {bucket: amount for bucket, amount in self._sums[key].items() if bucket >= horizon}


def _key(organisation: str, charge: Charge) -> Key:
    return organisation, charge.counter, charge.unit, charge.window
