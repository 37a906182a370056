"""What a worker may admit by itself while the store is away, and how the store learns of it afterwards."""

import asyncio
import logging
from collections.abc import Coroutine, Sequence
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

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
    Record,
    Sliding,
    Spent,
)
from headrace.ext_proc.core.ports import Store, StoreUnavailable
from headrace.ext_proc.core.roster import Changes, Listed, Seen

PENDING_MAX = 10_000
"""Leases the store has not been told of, some 2 kB each; with so many nothing more is admitted."""
RETRY_S = 0.25
"""Between attempts to tell the store."""

log = logging.getLogger(__name__)


class _Pending(Struct, frozen=True):
    """A lease as it was admitted here."""

    charges: Sequence[Charge]
    now_ms: int
    ttl_ms: int
    record: Record


class LocalAllowance:
    """A `Store` that passes everything on, and admits from an allowance of this process when it is asked to.

    The allowance is a share of each counter's limit, for as long as its window lasts, outages and policies notwithstanding. So a
    counter exceeds its limit by at most workers × share, rounded up to a whole unit, and by what those leases settle above
    what they reserved. A worker that dies during an outage takes with it, at most, what it admitted; the one that replaces it
    counts as one more.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._drawn: dict[tuple[str, Charge], tuple[int, int]] = {}
        """Counter (a charge of nothing) → what was admitted, and the epoch ms from which it counts no more."""
        self._pending: dict[tuple[str, str], _Pending] = {}
        self._telling: asyncio.Task[None] | None = None

    def admit(
        self,
        organisation: str,
        lease: str,
        charges: Sequence[Charge],
        percent: int,
        *,
        now_ms: int,
        ttl_ms: int,
        record: Record = EMPTY,
    ) -> Admitted | None:
        """Draw on `percent` of each counter's limit; None, and nothing drawn, where one of them cannot hold its charge.

        The store is told as soon as it answers, in a task of the running loop. Where it has had the lease all along, that changes
        nothing.
        """
        self._forget(now_ms)
        names = [(organisation, replace(charge, limit=0, amount=0, warn=())) for charge in charges]
        left = [self._left(name, charge, percent) for name, charge in zip(names, charges, strict=True)]
        if len(self._pending) >= PENDING_MAX or any(rest < charge.amount for rest, charge in zip(left, charges, strict=True)):
            return None
        for name, charge in zip(names, charges, strict=True):
            self._drawn[name] = self._drawn.get(name, (0, 0))[0] + charge.amount, _until(charge, now_ms, ttl_ms)
        # The store must take it, whatever its counters hold by then.
        raised = [replace(charge, limit=AMOUNT_MAX) for charge in charges]
        self._pending[organisation, lease] = _Pending(raised, now_ms, ttl_ms, record)
        if self._telling is None or self._telling.done():
            self._telling = asyncio.get_running_loop().create_task(self._tell_all(), name="reconcile")
        return Admitted(tuple(rest - charge.amount for rest, charge in zip(left, charges, strict=True)))

    def _left(self, name: tuple[str, Charge], charge: Charge, percent: int) -> int:
        return -(-charge.limit * percent // 100) - self._drawn.get(name, (0, 0))[0]

    def _forget(self, now_ms: int) -> None:
        for name in [name for name, (_, until_ms) in self._drawn.items() if until_ms <= now_ms]:
            del self._drawn[name]

    async def settle_many(self, organisation: str, closings: Sequence[Closing], *, now_ms: int) -> Sequence[Closed]:
        """As the store's, which is told first of those leases that were admitted here."""
        if self._pending:
            for closing in closings:
                await self._tell(organisation, closing.lease)
        return await self._store.settle_many(organisation, closings, now_ms=now_ms)

    def reserve(
        self, organisation: str, lease: str, charges: Sequence[Charge], *, now_ms: int, ttl_ms: int, record: Record = EMPTY
    ) -> Coroutine[Any, Any, Admitted | Exhausted]:
        return self._store.reserve(organisation, lease, charges, now_ms=now_ms, ttl_ms=ttl_ms, record=record)

    async def extend(
        self, organisation: str, lease: str, amounts: Spent, *, now_ms: int, ttl_ms: int
    ) -> Admitted | Exhausted | None:
        await self._tell(organisation, lease)
        return await self._store.extend(organisation, lease, amounts, now_ms=now_ms, ttl_ms=ttl_ms)

    async def read(self, organisation: str, charges: Sequence[Charge], *, now_ms: int) -> tuple[int, ...]:
        return await self._store.read(organisation, charges, now_ms=now_ms)

    async def entries(self, organisation: str, *, after: str = "", limit: int = 1000) -> Sequence[Entry]:
        return await self._store.entries(organisation, after=after, limit=limit)

    async def enrol(self, roster: str, id: str, value: bytes, *, revision: int = 0) -> int:
        return await self._store.enrol(roster, id, value, revision=revision)

    async def listed(self, roster: str, id: str) -> Listed | None:
        return await self._store.listed(roster, id)

    async def listed_since(self, roster: str, revision: int, *, limit: int = 1000) -> Sequence[Listed]:
        return await self._store.listed_since(roster, revision, limit=limit)

    async def changes(self, roster: str, seen: Seen, *, limit: int = 1000) -> Changes:
        return await self._store.changes(roster, seen, limit=limit)

    async def time_ms(self) -> int:
        return await self._store.time_ms()

    async def ping(self) -> None:
        await self._store.ping()

    async def _tell_all(self) -> None:
        while self._pending:
            organisation, lease = next(iter(self._pending))
            try:
                await self._tell(organisation, lease)
            except StoreUnavailable:
                await asyncio.sleep(RETRY_S)

    async def _tell(self, organisation: str, lease: str) -> None:
        """Raises StoreUnavailable; the lease stays pending then."""
        told = self._pending.get((organisation, lease))
        if told is None:
            return
        try:
            await self._store.reserve(organisation, lease, told.charges, now_ms=told.now_ms, ttl_ms=told.ttl_ms, record=told.record)
        except ValueError as error:  # released before the store heard of it
            log.warning("not reserved afterwards", extra={"lease": lease, "detail": str(error)})
        self._pending.pop((organisation, lease), None)

    async def close(self) -> None:
        """As `Store.close`; what the store has not been told of by then is lost, and logged."""
        if self._telling is not None:
            self._telling.cancel()
            await asyncio.wait([self._telling])
        if self._pending:
            log.error("admitted while the store was away, and never told", extra={"count": len(self._pending)})
        await self._store.close()


def _until(charge: Charge, now_ms: int, ttl_ms: int) -> int:
    window = charge.window
    if isinstance(window, Fixed):
        return window.end_ms
    return now_ms + (window.length_ms if isinstance(window, Sliding) else ttl_ms)


def with_allowance(store: Store) -> LocalAllowance:
    """`store` itself where it is one: the allowance is the process's, not a policy's."""
    return store if isinstance(store, LocalAllowance) else LocalAllowance(store)
