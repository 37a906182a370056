"""What all exchanges of one budget filter share."""

from collections.abc import Sequence
from functools import lru_cache

from headrace.ext_proc.core.principal import Principal
from headrace.ext_proc.engine.budgets.adjustments import followed
from headrace.ext_proc.engine.budgets.limits import Slot, limits_of
from headrace.ext_proc.engine.prices import Prices
from headrace.ext_proc.engine.registry import Build
from headrace.ext_proc.engine.tokens import Tokens
from headrace.ext_proc.stores.local import with_allowance


class Books:
    """ttl_ms: how long a lease lasts. step_tokens: of a streamed answer, reserved at a time; None: streams are not cut.

    local_percent: of each limit, admitted here while the store is away.
    """

    def __init__(self, build: Build, *, ttl_ms: int, fails_open: bool, step_tokens: int | None, local_percent: int = 0) -> None:
        self.local_percent = local_percent
        self.ttl_ms = ttl_ms
        self.fails_open = fails_open
        self.step_tokens = step_tokens
        self.catalogue = build.catalogue
        self.prices = Prices(build.catalogue)
        self.limits = limits_of(build.document, build.problem)
        self.in_money = next((limit for limit in self.limits if limit.unit == "nano_usd"), None)
        """The first that a request without a price cannot be charged to."""
        self.slots = lru_cache(4096)(self._slots)
        self.tokens = Tokens(build.base, build.ports.offload, build.ports.ratios)
        self.store = with_allowance(build.ports.store)
        self.clock = build.ports.clock
        self.adjustments = followed(build.ports.store, build.ports.clock)

    def _slots(self, principal: Principal, model: str, minute: int) -> Sequence[Slot]:
        return [limit.slot(principal, model, minute) for limit in self.limits]
