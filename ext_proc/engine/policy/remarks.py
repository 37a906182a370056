"""What a policy says to no effect. It works all the same, and a budget that is raised for one tenant may make another one count:
so these are remarks, where what can only be a mistake is a problem.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Final

from headrace.ext_proc.engine.policy.budgets import Budget, Sliding, UsdLimit, Window
from headrace.ext_proc.engine.policy.callers import overrides_have_an_effect
from headrace.ext_proc.engine.policy.doubts import DOUBTS
from headrace.ext_proc.engine.policy.models import Model, PolicyDocument, Price
from headrace.ext_proc.engine.policy.problems import Where

Found = Iterator[tuple[Where, str]]

HOUR_S: Final = 3600
_LONGEST: Final[Mapping[str, int]] = {
    "minute": 60,
    "hour": HOUR_S,
    "day": 25 * HOUR_S,
    "week": (7 * 24 + 1) * HOUR_S,
    "month": (31 * 24 + 1) * HOUR_S,
}
"""Seconds of a window at its longest: clocks are put back by an hour."""
_TOUCHED: Final = {
    ("minute", "hour"): 60,
    ("minute", "day"): 25 * 60,
    ("minute", "week"): (7 * 24 + 1) * 60,
    ("minute", "month"): (31 * 24 + 1) * 60,
    ("hour", "day"): 25,
    ("hour", "week"): 7 * 24 + 1,
    ("hour", "month"): 31 * 24 + 1,
    ("day", "week"): 7,
    ("day", "month"): 31,
    ("week", "month"): 6,
    ("month", "week"): 2,
}
"""How many of the first a window of the second touches, at most; one where that is not here, for it lies in it."""


def budgets_can_be_reached(document: PolicyDocument) -> Found:
    """A budget behind another one, of the same callers or of more of them, that always ends first."""
    for index, budget in enumerate(document.budgets):
        for place, other in enumerate(document.budgets):
            if place != index and (place < index or not _holds(budget, other)) and _holds(other, budget):
                message = f"nobody can hit it: budgets[{place}] ends first, with {_amount(other)} {_per(other)}"
                yield ("budgets", index), f"{message}; make this one smaller, or take it away"
                break


def _holds(tight: Budget, wide: Budget) -> bool:
    """Whether what `tight` admits, `wide` admits, too: each of its counters is a part of one of the other's."""
    times = _times(tight.window, wide.window)
    # Organisations share no counters.
    same_callers = {*tight.per} - {"organisation"} <= {*wide.per}
    return times > 0 and same_callers and _counts(tight, wide) and times * _limit(tight) <= _limit(wide)


def _times(tight: Window | None, wide: Window | None) -> int:
    """How many times the limit of the one can be used up in a window of the other; 0 where it is not said here."""
    if tight is None or wide is None:
        return int(tight is wide)
    if isinstance(tight, Sliding):
        seconds = wide.sliding if isinstance(wide, Sliding) else _LONGEST[wide]
        return -(-seconds // tight.sliding)
    return 0 if isinstance(wide, Sliding) else _TOUCHED.get((tight, wide), 1)


def _counts(tight: Budget, wide: Budget) -> bool:
    """Whether everything that `wide` counts, `tight` counts: tokens are those of prompts and of answers."""
    return _unit(tight) == _unit(wide) or (_unit(tight) == "tokens" and _unit(wide) in ("input_tokens", "output_tokens"))


def _unit(budget: Budget) -> str:
    return next(iter(type(budget.limit).model_fields))


def _limit(budget: Budget) -> Decimal:
    return Decimal(getattr(budget.limit, _unit(budget)))


def _amount(budget: Budget) -> str:
    return f"{_limit(budget):,f} {'USD' if isinstance(budget.limit, UsdLimit) else _unit(budget).replace('_', ' ')}"


def _per(budget: Budget) -> str:
    if budget.window is None:
        return "at once"
    return f"in {budget.window.sliding:,} s" if isinstance(budget.window, Sliding) else f"per {budget.window}"


def money_is_spent(document: PolicyDocument) -> Found:
    if document.models and all(_is_free(model) for model in document.models if not model.served_by):
        for index, budget in enumerate(document.budgets):
            if isinstance(budget.limit, UsdLimit):
                yield ("budgets", index, "limit"), "nobody can hit it: every model of the catalogue is free"


def _is_free(model: Model) -> bool:
    price = model.price
    return isinstance(price, Price) and not any(amount for amount in price.model_dump().values())


def _answer_usd(model: Model) -> Decimal:
    """At most; 0 where the policy does not say the price."""
    return model.price.output * model.max_output / 10**6 if isinstance(model.price, Price) else Decimal(0)


def budgets_hold_a_request(document: PolicyDocument) -> Found:
    """Without a cap of its own a request is reserved with the longest answer of its model."""
    shortest = min((model.max_output for model in document.models if not model.served_by), default=0)
    cheapest = min(map(_answer_usd, (model for model in document.models if not model.served_by)), default=Decimal(0))
    for index, budget in enumerate(document.budgets):
        if _unit(budget) == "usd" and _limit(budget) < cheapest:
            message = f"holds no request that names no cap: an answer of {cheapest.normalize():f} USD, or more, is assumed"
            yield ("budgets", index, "limit"), f"{message}; lower the max_output of models, or raise the limit"
        if _unit(budget) in ("tokens", "output_tokens") and _limit(budget) < shortest:
            message = f"holds no request that names no cap: an answer of {shortest:,} tokens is assumed"
            yield ("budgets", index, "limit"), f"{message}; lower the max_output of models, or raise the limit"


REMARKS: Sequence[Callable[[PolicyDocument], Found]] = (
    overrides_have_an_effect,
    budgets_can_be_reached,
    money_is_spent,
    budgets_hold_a_request,
    *DOUBTS,
)
