"""A store that is timed: each call's latency and failure, by operation; its outages are logged."""

from collections.abc import Coroutine, Sequence
from time import perf_counter
from typing import Any, Final, TypeVar

from headrace.ext_proc.core.ledger import EMPTY, Admitted, Charge, Closed, Closing, Entry, Exhausted, Record, Spent
from headrace.ext_proc.core.ports import Store, StoreUnavailable
from headrace.ext_proc.core.roster import Changes, Listed, Seen
from headrace.ext_proc.telemetry.outages import Outages
from headrace.ext_proc.telemetry.tally import Counter, Histogram

OPERATIONS: Final = ("reserve", "extend", "settle", "read", "entries", "enrol", "listed", "listed_since", "changes", "time", "ping")
"""Their errors are counted from 0 on: Prometheus sees no rise in a series that begins with its first error."""

Result = TypeVar("Result")
Called = Coroutine[Any, Any, Result]


class MeasuredStore:
    """`store`, observed. Raises what it raises."""

    def __init__(self, store: Store, durations: Histogram, errors: Counter, outages: Outages) -> None:
        self._store = store
        self._durations = durations
        self._errors = errors
        for operation in OPERATIONS:
            errors.add((operation,), 0)
        self._outages = outages

    async def _timed(self, operation: str, call: Called[Result]) -> Result:
        started = perf_counter()
        try:
            return await self._outages.watched(operation, call)
        except StoreUnavailable:
            self._errors.add((operation,))
            raise
        finally:
            self._durations.observe((operation,), perf_counter() - started)

    def reserve(
        self, organisation: str, lease: str, charges: Sequence[Charge], *, now_ms: int, ttl_ms: int, record: Record = EMPTY
    ) -> Called[Admitted | Exhausted]:
        call = self._store.reserve(organisation, lease, charges, now_ms=now_ms, ttl_ms=ttl_ms, record=record)
        return self._timed("reserve", call)

    def extend(
        self, organisation: str, lease: str, amounts: Spent, *, now_ms: int, ttl_ms: int
    ) -> Called[Admitted | Exhausted | None]:
        return self._timed("extend", self._store.extend(organisation, lease, amounts, now_ms=now_ms, ttl_ms=ttl_ms))

    def settle_many(self, organisation: str, closings: Sequence[Closing], *, now_ms: int) -> Called[Sequence[Closed]]:
        return self._timed("settle", self._store.settle_many(organisation, closings, now_ms=now_ms))

    def read(self, organisation: str, charges: Sequence[Charge], *, now_ms: int) -> Called[tuple[int, ...]]:
        return self._timed("read", self._store.read(organisation, charges, now_ms=now_ms))

    def entries(self, organisation: str, *, after: str = "", limit: int = 1000) -> Called[Sequence[Entry]]:
        return self._timed("entries", self._store.entries(organisation, after=after, limit=limit))

    def enrol(self, roster: str, id: str, value: bytes, *, revision: int = 0) -> Called[int]:
        return self._timed("enrol", self._store.enrol(roster, id, value, revision=revision))

    def listed(self, roster: str, id: str) -> Called[Listed | None]:
        return self._timed("listed", self._store.listed(roster, id))

    def listed_since(self, roster: str, revision: int, *, limit: int = 1000) -> Called[Sequence[Listed]]:
        return self._timed("listed_since", self._store.listed_since(roster, revision, limit=limit))

    def changes(self, roster: str, seen: Seen, *, limit: int = 1000) -> Called[Changes]:
        return self._timed("changes", self._store.changes(roster, seen, limit=limit))

    def time_ms(self) -> Called[int]:
        return self._timed("time", self._store.time_ms())

    def ping(self) -> Called[None]:
        return self._timed("ping", self._store.ping())

    async def close(self) -> None:
        await self._store.close()
