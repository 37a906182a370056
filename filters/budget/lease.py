"""What one exchange has drawn on its budgets, and the calls to the store that change it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from headrace.ext_proc.core.effects import Settle
from headrace.ext_proc.core.ledger import Admitted, Charge, Exhausted, Record, Spent
from headrace.ext_proc.core.ports import Clock, Store
from headrace.ext_proc.core.price import Price
from headrace.ext_proc.core.principal import Principal
from headrace.ext_proc.core.usage import Usage
from headrace.ext_proc.engine.bookkeeping import closing_of
from headrace.ext_proc.engine.policy.models import Model
from headrace.ext_proc.engine.prices import spent_of
from headrace.ext_proc.stores.local import LocalAllowance


@dataclass(slots=True)
class Lease:
    """Bears the exchange's id. usage: the most the exchange may use, as far as budgets hold it."""

    id: str
    principal: Principal
    model: Model
    usage: Usage
    price: Price | None
    ttl_ms: int
    charges: Sequence[Charge] = field(default=())

    @property
    def organisation(self) -> str:
        return self.principal.organisation

    @property
    def amounts(self) -> Spent:
        """In every unit a budget may have; money only where there is a price."""
        return {**spent_of(self.usage, self.price), "requests": 1, "concurrency": 1}

    async def reserve(self, store: Store, now_ms: int, context: Mapping[str, Any]) -> Admitted | Exhausted:
        """context: what the ledger is to say of a lease that lapses, besides what it charged. Raises StoreUnavailable."""
        record = self._record(context)
        return await store.reserve(self.organisation, self.id, self.charges, now_ms=now_ms, ttl_ms=self.ttl_ms, record=record)

    def admit(self, local: LocalAllowance, percent: int, now_ms: int, context: Mapping[str, Any]) -> Admitted | None:
        """From the process's own allowance; None where it does not hold the lease, or there is none."""
        record = self._record(context)
        told = {"now_ms": now_ms, "ttl_ms": self.ttl_ms}
        return local.admit(self.organisation, self.id, self.charges, percent, **told, record=record) if percent else None

    def _record(self, context: Mapping[str, Any]) -> Record:
        return closing_of(Settle(self.organisation, self.id, None, self.price, self.usage, context)).record

    async def extend(self, store: Store, clock: Clock, output_tokens: int) -> Admitted | Exhausted | None:
        """Have it hold so many tokens of answer. Raises StoreUnavailable."""
        usage = Usage(self.usage.input_tokens, output_tokens)
        totals = spent_of(usage, self.price)
        answer = await store.extend(self.organisation, self.id, totals, now_ms=clock.now_ms(), ttl_ms=self.ttl_ms)
        if isinstance(answer, Admitted):
            self.usage = usage
        return answer
