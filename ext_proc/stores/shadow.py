"""A store whose organisations are others than those of the same names: what is counted here touches nobody's budget."""

from collections.abc import Sequence

from headrace.ext_proc.core.ledger import EMPTY, Admitted, Charge, Closed, Closing, Entry, Exhausted, Record, Spent
from headrace.ext_proc.core.ports import Store
from headrace.ext_proc.core.roster import Changes, Listed, Seen

PREFIX = "~candidate~"
"""Before the organisation: `headrace usage report --organisation ~candidate~default` shows what was counted."""


class ShadowStore:
    """See Store. Rosters (keys, adjustments of budgets) are the same, and are not written."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def reserve(
        self, organisation: str, lease: str, charges: Sequence[Charge], *, now_ms: int, ttl_ms: int, record: Record = EMPTY
    ) -> Admitted | Exhausted:
        return await self._store.reserve(PREFIX + organisation, lease, charges, now_ms=now_ms, ttl_ms=ttl_ms, record=record)

    async def extend(
        self, organisation: str, lease: str, amounts: Spent, *, now_ms: int, ttl_ms: int
    ) -> Admitted | Exhausted | None:
        return await self._store.extend(PREFIX + organisation, lease, amounts, now_ms=now_ms, ttl_ms=ttl_ms)

    async def settle_many(self, organisation: str, closings: Sequence[Closing], *, now_ms: int) -> Sequence[Closed]:
        return await self._store.settle_many(PREFIX + organisation, closings, now_ms=now_ms)

    async def read(self, organisation: str, charges: Sequence[Charge], *, now_ms: int) -> tuple[int, ...]:
        return await self._store.read(PREFIX + organisation, charges, now_ms=now_ms)

    async def entries(self, organisation: str, *, after: str = "", limit: int = 1000) -> Sequence[Entry]:
        return await self._store.entries(PREFIX + organisation, after=after, limit=limit)

    async def enrol(self, roster: str, id: str, value: bytes, *, revision: int = 0) -> int:
        raise NotImplementedError("what is tried changes nothing")

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

    async def close(self) -> None:
        """The store is its owner's to close."""
