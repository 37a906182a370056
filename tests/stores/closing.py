"""One lease closed, as `Store.settle_many` closes several."""

from headrace.ext_proc.core.ledger import Closing, Spent
from headrace.ext_proc.core.ports import Store


async def settle(store: Store, organisation: str, lease: str, spent: Spent, *, now_ms: int) -> bool:
    """Whether this call settled the lease."""
    (closed,) = await store.settle_many(organisation, [Closing(lease, spent)], now_ms=now_ms)
    return closed.applied


async def release(store: Store, organisation: str, lease: str, *, now_ms: int) -> bool:
    """Whether this call released the lease."""
    (closed,) = await store.settle_many(organisation, [Closing(lease)], now_ms=now_ms)
    return closed.applied
