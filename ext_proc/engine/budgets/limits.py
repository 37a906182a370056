"""The policy's budgets in the store's terms: units, integer limits, counters and windows."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, tzinfo
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from functools import lru_cache
from typing import cast
from urllib.parse import quote
from zoneinfo import ZoneInfo

from headrace.ext_proc.core.ledger import AMOUNT_MAX, HELD, Charge, Fixed, Held, Sliding, Spent, Unit, Window
from headrace.ext_proc.core.principal import Principal
from headrace.ext_proc.core.windows import WindowKind, window_at
from headrace.ext_proc.engine.policy.budgets import Budget, UsdLimit, shares
from headrace.ext_proc.engine.policy.budgets import Sliding as SlidingWindow
from headrace.ext_proc.engine.policy.catalogue import is_glob
from headrace.ext_proc.engine.policy.models import PolicyDocument
from headrace.ext_proc.engine.policy.problems import Where
from headrace.ext_proc.engine.policy.values import Dimension
from headrace.ext_proc.engine.prices import NANO, Prices

MINUTE_MS = 60_000
USD_MAX = AMOUNT_MAX // int(NANO)
"""Nine million dollars: beyond it a sum of nano-USD is not exact in the store."""

Problem = Callable[[Where, str], None]


@dataclass(frozen=True, slots=True)
class Limit:
    """One budget. limit, warn: in whole units of the store. zone: where its calendar windows begin."""

    name: str
    per: tuple[Dimension, ...]
    unit: Unit
    limit: int
    window: WindowKind | Sliding | Held
    warn: tuple[int, ...] = ()
    zone: tzinfo = UTC

    def slot(self, principal: Principal, model: str, minute: int) -> "Slot":
        """Where requests of `principal` for the catalogue's entry `model` are counted. minute: since the epoch."""
        levels = (model if level == "model" else getattr(principal, level) for level in self.per)
        window = _calendar_window(self.window, minute, self.zone) if isinstance(self.window, str) else self.window
        return Slot(self, _counter(self.name, tuple(levels)), window)

    @property
    def every(self) -> str:
        """The window in words."""
        match self.window:
            case Sliding(length_ms=length_ms):
                return f"in {length_ms // 1000} seconds"
            case Held():
                return "at once"
            case kind:
                return f"per {kind}"


@dataclass(frozen=True, slots=True)
class Slot:
    """One budget's counter for one caller, in the window of one minute: every calendar window begins at a full minute."""

    limit: Limit
    counter: str
    window: Window

    def charge(self, amounts: Spent, limit: int | None = None) -> Charge:
        """What a request draws. An amount that no counter can hold becomes the largest there is, which no limit admits.

        limit: in place of the policy's; thresholds stay the same share of it.
        """
        own = self.limit
        amount = min(amounts[own.unit], AMOUNT_MAX)
        if limit is None or limit == own.limit:
            return Charge(self.counter, own.unit, own.limit, amount, self.window, own.warn)
        warn = tuple(-(-threshold * limit // own.limit) for threshold in own.warn) if own.limit else ()
        return Charge(self.counter, own.unit, limit, amount, self.window, tuple(sorted({*warn} - {0})))


def limits_of(document: PolicyDocument, problem: Problem) -> Sequence[Limit]:
    """The policy's budgets; `problem` is told of those that cannot be kept."""
    if any(isinstance(budget.limit, UsdLimit) for budget in document.budgets):
        _check_prices(document, problem)
    zone = ZoneInfo(document.time_zone)
    return [_limit(budget, index, zone, problem) for index, budget in enumerate(document.budgets)]


def _limit(budget: Budget, index: int, zone: tzinfo, problem: Problem) -> Limit:
    unit, limit = _amount(budget)
    if limit >= AMOUNT_MAX:
        problem(("budgets", index, "limit", "usd"), f"must be at most {USD_MAX:,} USD; split it over shorter windows")
    limit = min(limit, AMOUNT_MAX)
    warn = tuple(int((share * limit).to_integral_value(ROUND_CEILING)) for share in shares(budget))
    return Limit(budget.name, budget.per, unit, limit, _window(budget), warn, zone)


def _window(budget: Budget) -> WindowKind | Sliding | Held:
    """A budget without a window limits what runs at once: a rule of the policy."""
    if budget.window is None:
        return HELD
    return Sliding(budget.window.sliding * 1000) if isinstance(budget.window, SlidingWindow) else budget.window


def _amount(budget: Budget) -> tuple[Unit, int]:
    if isinstance(budget.limit, UsdLimit):
        return "nano_usd", int((Decimal(budget.limit.usd) * NANO).to_integral_value(ROUND_FLOOR))
    ((unit, amount),) = budget.limit.model_dump().items()
    return cast(Unit, unit), amount  # the models of limits name their members as the store names its units


def _check_prices(document: PolicyDocument, problem: Problem) -> None:
    for index, name in _unpriced(document):
        message = f"no price is published for {name!r}, and there are budgets in USD; give {{input: USD, output: USD}} per million"
        problem(("models", index, "price"), message)


def _unpriced(document: PolicyDocument) -> Iterator[tuple[int, str]]:
    """Models whose price is known to be unknown. What a glob stands for is seen request by request."""
    prices = Prices(document.models)
    for index, model in enumerate(document.models):
        if not is_glob(model.name) and not model.served_by and prices.of(model, model.name) is None:
            yield index, model.name


@lru_cache(256)
def _calendar_window(kind: WindowKind, minute: int, zone: tzinfo) -> Fixed:
    """Every calendar window begins at a full minute, so one look-up per minute does."""
    return window_at(minute * MINUTE_MS, kind, zone)


@lru_cache(8192)
def _counter(name: str, levels: tuple[str | None, ...]) -> str:
    """Quoted, so that no name can pass for two levels. Callers who do not name a level share one counter at it."""
    return f"{name}:{'/'.join(quote(level or '', safe='@ ') for level in levels)}"
