"""The ledger's records of a time, page by page."""

from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime

from headrace.ext_proc.core.ports import Store

PAGE = 1000
LATE_MS = 3_600_000
"""A record's place is by the store's clock, its time by a worker's; a settlement waits at most minutes for a store that is away."""


def instant_of(text: str) -> int:
    """`2026-11-01` or `2026-11-01T12:00`, with an offset or else UTC, as epoch ms. Raises ValueError."""
    given = datetime.fromisoformat(text)
    return int((given if given.tzinfo else given.replace(tzinfo=UTC)).timestamp() * 1000)


async def records(store: Store, organisation: str, start_ms: int, end_ms: int) -> AsyncIterator[Mapping[str, str]]:
    """Those with `start_ms <= at_ms < end_ms`, oldest first. Raises StoreUnavailable."""
    after = str(max(0, start_ms - LATE_MS))
    while page := await store.entries(organisation, after=after, limit=PAGE):
        for entry in page:
            if start_ms <= int(entry.members.get("at_ms", -1)) < end_ms:
                yield entry.members
        after = page[-1].id
        if int(after.partition("-")[0]) > end_ms + LATE_MS:
            return
