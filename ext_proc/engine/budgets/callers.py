"""Who has drawn on budgets of late, by the ledger: the callers whose counters are worth a look."""

from collections.abc import Mapping, Sequence

from headrace.ext_proc.core.ledger import Fixed, Sliding
from headrace.ext_proc.core.ports import Store
from headrace.ext_proc.core.principal import ANONYMOUS
from headrace.ext_proc.engine.budgets.limits import MINUTE_MS, Limit

LEVELS = ("team", "app", "user", "key", "model")
MOST_RECORDS = 100_000
"""Of the ledger, the latest of which are read: some 30 MB."""
PAGE = 1000


async def callers(store: Store, organisation: str, limits: Sequence[Limit], now_ms: int) -> Sequence[Mapping[str, str]]:
    """Each combination of levels that a settled request of a window still running had. Requests under way are not in the ledger
    yet. Raises StoreUnavailable.
    """
    wanted = [level for level in LEVELS if any(level in limit.per for limit in limits)]
    found: dict[tuple[str, ...], None] = {}
    after, read = str(min((_begin(limit, now_ms) for limit in limits), default=now_ms)), 0
    while read < MOST_RECORDS and (page := await store.entries(organisation, after=after, limit=PAGE)):
        found.update(dict.fromkeys(tuple(entry.members.get(level, "") for level in wanted) for entry in page))
        after, read = page[-1].id, read + len(page)
    return [dict(zip(wanted, values, strict=True)) for values in sorted(found)]


def _begin(limit: Limit, now_ms: int) -> int:
    """Of the window that is running, epoch ms."""
    match limit.slot(ANONYMOUS, "", now_ms // MINUTE_MS).window:
        case Fixed(start_ms=start_ms):
            return start_ms
        case Sliding(length_ms=length_ms):
            return max(now_ms - length_ms, 0)
        case _:
            return now_ms
