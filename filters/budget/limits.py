"""The policy's budgets in the store's terms: units, integer limits, counters and windows."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC
from decimal import ROUND_FLOOR, Decimal
from functools import lru_cache
from urllib.parse import quote

from headrace.ext_proc.core.ledger import AMOUNT_MAX, Charge, Fixed, Sliding, Spent, Unit, Window
from headrace.ext_proc.core.principal import Principal
from headrace.ext_proc.core.windows import WindowKind, window_at
from headrace.ext_proc.engine.policy.catalogue import is_glob
from headrace.ext_proc.engine.policy.models import Budget, PolicyDocument, RequestLimit, TokenLimit, UsdLimit
from headrace.ext_proc.engine.policy.problems import Where
from headrace.ext_proc.engine.policy.values import Dimension
from headrace.ext_proc.engine.prices import NANO, Prices

MINUTE_MS = 60_000
USD_MAX = AMOUNT_MAX // int(NANO)
"""Nine million dollars: beyond it a sum of nano-USD is not exact in the store."""

Problem = Callable[[Where, str], None]


@dataclass(frozen=True, slots=True)
class Limit:
    """One budget. limit: in whole units of the store."""

    name: str
    per: tuple[Dimension, ...]
    unit: Unit
    limit: int
    window: WindowKind | Sliding

    def slot(self, principal: Principal, model: str, minute: int) -> "Slot":
        """Where requests of `principal` for the catalogue's entry `model` are counted. minute: since the epoch."""
        levels = (model if level == "model" else getattr(principal, level) for level in self.per)
        window = self.window if isinstance(self.window, Sliding) else _calendar_window(self.window, minute)
        return Slot(self, _counter(self.name, tuple(levels)), window)

    @property
    def every(self) -> str:
        """The window in words."""
        return f"in {self.window.length_ms // 1000} seconds" if isinstance(self.window, Sliding) else f"per {self.window}"


@dataclass(frozen=True, slots=True)
class Slot:
    """One budget's counter for one caller, in the window of one minute: every calendar window begins at a full minute."""

    limit: Limit
    counter: str
    window: Window

    def charge(self, amounts: Spent) -> Charge:
        """What a request draws. An amount that no counter can hold becomes the largest there is, which no limit admits."""
        limit = self.limit
        return Charge(self.counter, limit.unit, limit.limit, min(amounts[limit.unit], AMOUNT_MAX), self.window)


def limits_of(document: PolicyDocument, problem: Problem) -> Sequence[Limit]:
    """The policy's budgets; `problem` is told of those that cannot be kept."""
    if any(isinstance(budget.limit, UsdLimit) for budget in document.budgets):
        _check_prices(document, problem)
    return [_limit(budget, index, problem) for index, budget in enumerate(document.budgets)]


def _limit(budget: Budget, index: int, problem: Problem) -> Limit:
    window = budget.window
    unit, limit = _amount(budget)
    if limit >= AMOUNT_MAX:
        problem(("budgets", index, "limit", "usd"), f"must be at most {USD_MAX:,} USD; split it over shorter windows")
    kind = window if isinstance(window, str) else Sliding(window.sliding * 1000)
    return Limit(budget.name, budget.per, unit, min(limit, AMOUNT_MAX), kind)


def _amount(budget: Budget) -> tuple[Unit, int]:
    match budget.limit:
        case UsdLimit(usd=usd):
            return "nano_usd", int((Decimal(usd) * NANO).to_integral_value(ROUND_FLOOR))
        case TokenLimit(tokens=tokens):
            return "tokens", tokens
        case RequestLimit(requests=requests):
            return "requests", requests


def _check_prices(document: PolicyDocument, problem: Problem) -> None:
    for index, name in _unpriced(document):
        message = f"no price is published for {name!r}, and there are budgets in USD; give {{input: USD, output: USD}} per million"
        problem(("models", index, "price"), message)


def _unpriced(document: PolicyDocument) -> Iterator[tuple[int, str]]:
    """Models whose price is known to be unknown. What a glob stands for is seen request by request."""
    prices = Prices(document.models)
    for index, model in enumerate(document.models):
        if not is_glob(model.name) and prices.of(model, model.name) is None:
            yield index, model.name


@lru_cache(256)
def _calendar_window(kind: WindowKind, minute: int) -> Fixed:
    """Every calendar window begins at a full minute, so one look-up per minute does."""
    return window_at(minute * MINUTE_MS, kind, UTC)


@lru_cache(8192)
def _counter(name: str, levels: tuple[str | None, ...]) -> str:
    """Quoted, so that no name can pass for two levels. Callers who do not name a level share one counter at it."""
    return f"{name}:{'/'.join(quote(level or '', safe='@ ') for level in levels)}"
