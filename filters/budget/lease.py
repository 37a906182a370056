"""What one exchange has drawn on its budgets, and the calls to the store that change it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from headrace.ext_proc.core.ledger import Admitted, Charge, Exhausted, Record, Spent
from headrace.ext_proc.core.ports import Clock, Store
from headrace.ext_proc.core.price import Price
from headrace.ext_proc.core.principal import Principal
from headrace.ext_proc.core.usage import Usage
from headrace.ext_proc.engine.bookkeeping import lapsing
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

    async def reserve(self, store: Store, now_ms: int, about: Mapping[str, str]) -> Admitted | Exhausted:
        """about: what the ledger is to say of a lease that lapses, see `lapsing`. Raises StoreUnavailable."""
        record = self._record(about)
        return await store.reserve(self.organisation, self.id, self.charges, now_ms=now_ms, ttl_ms=self.ttl_ms, record=record)

    def admit(self, local: LocalAllowance, percent: int, now_ms: int, about: Mapping[str, str]) -> Admitted | None:
        """From the process's own allowance; None where it does not hold the lease, or there is none."""
        record = self._record(about)
        told = {"now_ms": now_ms, "ttl_ms": self.ttl_ms}
        return local.admit(self.organisation, self.id, self.charges, percent, **told, record=record) if percent else None

    def _record(self, about: Mapping[str, str]) -> Record:
        return lapsing(self.organisation, self.id, about, self.usage, self.price)

    async def extend(self, store: Store, clock: Clock, output_tokens: int) -> Admitted | Exhausted | None:
        """Have it hold so many tokens of answer. Raises StoreUnavailable."""
        usage = Usage(self.usage.input_tokens, output_tokens)
        totals = spent_of(usage, self.price)
        answer = await store.extend(self.organisation, self.id, totals, now_ms=clock.now_ms(), ttl_ms=self.ttl_ms)
        if isinstance(answer, Admitted):
            self.usage = usage
        return answer
