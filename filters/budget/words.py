"""What callers read of their budgets: refusals, and OpenAI's rate-limit headers."""

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache

from headrace.ext_proc.core.ledger import Charge, Exhausted, Fixed, Sliding, Unit, Window
from headrace.ext_proc.core.verdict import Reply
from headrace.ext_proc.engine.budgets.amounts import quantity
from headrace.ext_proc.engine.budgets.limits import Limit

WORTH_WAITING_S = 60
"""Clients that are told when to retry sleep until then, some of them for hours; beyond a minute their callers had better know."""
_HEADER_UNITS: tuple[Unit, ...] = ("tokens", "requests")
_HEADERS = {unit: tuple(f"ratelimit_{what}_{unit}" for what in ("limit", "remaining", "reset")) for unit in _HEADER_UNITS}

UNAVAILABLE = Reply(
    503,
    "budget.unavailable",
    "The gateway cannot check your budget at the moment, so the request was refused. Please try again.",
    retry_after=1,
)


def refusal(limits: Sequence[Limit], charges: Sequence[Charge], refused: Exhausted, now_ms: int) -> Reply:
    """429 for a reservation the store refused; limits[i] is the budget of charges[i]."""
    never = next((index for index, charge in enumerate(charges) if charge.amount > charge.limit), None)
    index = refused.index if never is None else never
    limit, charge = limits[index], charges[index]
    allows = f"The budget '{limit.name}' allows {quantity(charge.unit, charge.limit)} {limit.every}"
    left = refused.remaining[index]
    headers = {f"x-{name.replace('_', '-')}": value for name, value in ratelimit(charges, refused.remaining, now_ms).items()}
    note = {"budget": limit.name, "unit": charge.unit, "needed": charge.amount, "remaining": left}
    if charge.unit == "concurrency":
        message = f"{allows}, and they are running. Try again when one of them has ended."
        return Reply(429, "budget.exhausted", message, retry_after=1, headers=headers, note=note)
    needs = f"this request needs up to {quantity(charge.unit, charge.amount)}"
    if never is not None:
        message = f"{allows} at all, and {needs}. Shorten the prompt or ask for a shorter answer."
        return Reply(429, "budget.exhausted", message, headers=headers, note=note)
    wait_s = max(1, -(-(refused.resets_at_ms - now_ms) // 1000))
    until = datetime.fromtimestamp(now_ms // 1000 + wait_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    message = f"{allows}; {quantity(charge.unit, left)} left, and {needs}. Try again at {until}."
    worth = wait_s if wait_s <= WORTH_WAITING_S else None
    return Reply(429, "budget.exhausted", message, retry_after=worth, headers=headers, note=note | {"resets_at": until})


def ran_dry(limits: Sequence[Limit], charges: Sequence[Charge], refused: Exhausted | None) -> Reply:
    """The end of a stream whose lease cannot grow; None: it has lapsed, or was settled without us."""
    if refused is None:
        message = "The answer took longer than the gateway's budgets hold a reservation, so it was ended here."
        return Reply(429, "budget.lapsed", message)
    limit, charge = limits[refused.index], charges[refused.index]
    message = (
        f"The budget '{limit.name}' allows {quantity(charge.unit, charge.limit)} {limit.every}. "
        "It ran out while the answer was streamed, so the answer was ended here."
    )
    return Reply(429, "budget.exhausted", message)


def unpriced(model: str, budget: str) -> Reply:
    """403 where a budget of money cannot be charged."""
    message = f"The model '{model}' has no price here, so it cannot be charged to the budget '{budget}'."
    return Reply(403, "budget.unpriced", message, param="model")


def ratelimit(charges: Sequence[Charge], remaining: Sequence[int], now_ms: int) -> dict[str, str]:
    """Metadata keys of the x-ratelimit-* headers, for the tightest budget in tokens and the tightest in requests."""
    found: dict[str, str] = {}
    for (limit, left, reset), places in _told(tuple([charge.unit for charge in charges])):
        least, place = min([(remaining[place], place) for place in places])
        found[limit] = str(charges[place].limit)
        found[left] = str(least)
        found[reset] = _duration(-(-_lasts_ms(charges[place].window, now_ms) // 1000))
    return found


@lru_cache(1024)
def _told(units: Sequence[Unit]) -> Sequence[tuple[Sequence[str], Sequence[int]]]:
    """The headers of each unit that has some, and where its charges stand: the same for all whom the same budgets concern."""
    places = {unit: tuple(place for place, own in enumerate(units) if own == unit) for unit in _HEADER_UNITS}
    return [(_HEADERS[unit], own) for unit, own in places.items() if own]


def _lasts_ms(window: Window, now_ms: int) -> int:
    if isinstance(window, Fixed):
        return window.end_ms - now_ms
    return window.length_ms if isinstance(window, Sliding) else 0


@lru_cache(4096)
def _duration(whole: int) -> str:
    """Seconds as OpenAI writes them: `6m0s`."""
    minutes, seconds = divmod(max(0, whole), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes}m{seconds}s" if hours else f"{minutes}m{seconds}s" if minutes else f"{seconds}s"
