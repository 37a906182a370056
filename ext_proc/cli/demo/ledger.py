"""The budgets' counters, read from the store."""

from collections.abc import Sequence
from dataclasses import dataclass
from time import time_ns

from headrace.ext_proc.core.ledger import UNITS, Unit
from headrace.ext_proc.core.principal import DEFAULT_ORGANISATION
from headrace.ext_proc.engine.budgets.limits import MINUTE_MS, limits_of
from headrace.ext_proc.engine.policy.models import PolicyDocument
from headrace.ext_proc.stores import open_store

from .files import CALLERS
from .scenes import MODEL


@dataclass(frozen=True, slots=True)
class Counter:
    """What one caller has used of one budget, in whole units of the store."""

    caller: str
    budget: str
    unit: Unit
    used: int
    limit: int


async def read(document: PolicyDocument, store_url: str) -> Sequence[Counter]:
    """Every budget of every caller. Raises StoreUnavailable."""
    store = open_store(store_url)
    limits = limits_of(document, lambda where, message: None)
    counters = []
    try:
        for caller, principal in CALLERS.items():
            now_ms = time_ns() // 1_000_000
            charges = [limit.slot(principal, MODEL, now_ms // MINUTE_MS).charge(dict.fromkeys(UNITS, 0)) for limit in limits]
            used = await store.read(DEFAULT_ORGANISATION, charges, now_ms=now_ms)
            counters += [
                Counter(caller, limit.name, limit.unit, amount, limit.limit) for limit, amount in zip(limits, used, strict=True)
            ]
    finally:
        await store.close()
    return counters
