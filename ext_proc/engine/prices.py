"""What tokens cost: Decimal arithmetic over a price per million tokens, whole nano-USD at the end, rounded up."""

import hashlib
from collections.abc import Iterable, Sequence
from decimal import ROUND_CEILING, Decimal
from functools import lru_cache
from typing import Any, NamedTuple

import msgspec

from headrace.ext_proc.core.ledger import AMOUNT_MAX, Spent
from headrace.ext_proc.core.price import Price
from headrace.ext_proc.core.usage import Usage
from headrace.ext_proc.engine.policy.models import Model
from headrace.ext_proc.engine.policy.models import Price as OwnPrice

MILLION = Decimal(1_000_000)
NANO = Decimal(1_000_000_000)


class Rates(NamedTuple):
    """USD per token."""

    fresh: Decimal
    cached: Decimal
    written: Decimal
    written_1h: Decimal
    output: Decimal
    reasoning: Decimal


@lru_cache(4096)  # a lease and its settlement ask five times
def usd(usage: Usage, price: Price | None) -> Decimal | None:
    """US dollars for `usage`, or None without a price. Parts that a provider counts above their whole count as the whole."""
    if price is None:
        return None
    rates = _rates(price)
    cached = min(usage.cached_tokens, usage.input_tokens)
    written = min(usage.cache_write_tokens, usage.input_tokens - cached)
    hour = min(usage.cache_write_1h_tokens, written)
    thought = min(usage.reasoning_tokens, usage.output_tokens)
    prompt = rates.fresh * (usage.input_tokens - cached - written) + rates.cached * cached
    kept = rates.written * (written - hour) + rates.written_1h * hour
    answer = rates.output * (usage.output_tokens - thought) + rates.reasoning * thought
    return (prompt + kept + answer) * _factor(price, usage.service_tier)


@lru_cache(256)
def _rates(price: Price) -> Rates:
    """What has no price of its own costs what the whole does."""
    written = price.cache_write or price.input
    per_million = (
        price.input,
        price.cached_input or price.input,
        written,
        price.cache_write_1h or written,
        price.output,
        price.reasoning or price.output,
    )
    return Rates(*(Decimal(amount) / MILLION for amount in per_million))


@lru_cache(256)
def _factor(price: Price, tier: str) -> Decimal:
    return Decimal(dict(price.service_tiers).get(tier, "1"))


@lru_cache(4096)
def nano_usd(usage: Usage, price: Price | None) -> int:
    """Whole nano-USD, rounded up: a store's counters are integers, and a budget is never undercharged by rounding.

    AMOUNT_MAX at most.
    """
    cost = usd(usage, price)
    return 0 if cost is None else min(int((cost * NANO).to_integral_value(ROUND_CEILING)), AMOUNT_MAX)


def spent_of(usage: Usage, price: Price | None) -> Spent:
    """`usage` in every unit a budget may have, each AMOUNT_MAX at most, so that a store takes it whatever a provider reports.

    Requests are left as reserved: the request took place.
    """
    spent: Spent = {
        "tokens": min(usage.total_tokens, AMOUNT_MAX),
        "input_tokens": min(usage.input_tokens, AMOUNT_MAX),
        "output_tokens": min(usage.output_tokens, AMOUNT_MAX),
    }
    return spent if price is None else {**spent, "nano_usd": nano_usd(usage, price)}


class Prices:
    """Of the models of one policy."""

    def __init__(self, models: Iterable[Model]) -> None:
        self._own = {model.name: _tiered(_own(model.price), model) for model in models if not isinstance(model.price, str)}

    def of(self, model: Model, asked: str, prompt: int = 0) -> Price | None:
        """The policy's own price, else the published one of the name the client asked for; None where neither is known.

        prompt: tokens, which decide where a published price is higher for long prompts.
        """
        if (own := self._own.get(model.name)) is not None:
            return own
        price = published(asked, prompt)
        return price if price is None else _tiered(price, model)


def _tiered(price: Price, model: Model) -> Price:
    if not model.service_tiers:
        return price
    return msgspec.structs.replace(price, service_tiers=tuple((name, str(by)) for name, by in model.service_tiers.items()))


@lru_cache(256)
def _own(price: OwnPrice) -> Price:
    return Price(
        input=str(price.input),
        output=str(price.output),
        cached_input=_spelled(price.cached_input),
        revision=f"policy {_digest(repr(price))}",
        cache_write=_spelled(price.cache_write),
        cache_write_1h=_spelled(price.cache_write_1h),
        reasoning=_spelled(price.reasoning),
    )


def _spelled(amount: Decimal | None) -> str | None:
    return None if amount is None else str(amount)


def _digest(text: str) -> str:
    """Tells two prices apart in records."""
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def published(name: str, prompt: int = 0) -> Price | None:
    """The price `genai-prices` publishes for `name` and prompts of so many tokens."""
    above = [price for start, price in _steps(name) if prompt > start]
    return above[-1] if above else None


@lru_cache(1024)
def _steps(name: str) -> Sequence[tuple[int, Price]]:
    """(tokens that the prompt must exceed, price of all tokens then), ascending; the first is for any prompt."""
    import genai_prices

    try:
        found = genai_prices.calc_price(genai_prices.Usage(input_tokens=0, output_tokens=0), model_ref=name).model_price
    except LookupError:
        return ()
    if found.input_mtok is None and found.output_mtok is None:
        return ()
    revision = f"genai-prices {genai_prices.__version__}"
    starts = {tier.start for amount in (found.input_mtok, found.output_mtok) for tier in getattr(amount, "tiers", ())}
    return [(start, _price_above(found, start, revision)) for start in (-1, *sorted(starts))]


def _price_above(found: Any, start: int, revision: str) -> Price:
    return Price(
        input=_amount(found.input_mtok, start) or "0",
        output=_amount(found.output_mtok, start) or "0",
        cached_input=_amount(found.cache_read_mtok, start),
        cache_write=_amount(found.cache_write_mtok, start),
        cache_write_1h=_amount(found.cache_write_1h_mtok, start),
        reasoning=_amount(found.output_reasoning_mtok, start),
        revision=revision,
    )


def _amount(price: Any, start: int) -> str | None:
    """A flat price, or of one in tiers the highest that begins at or below `start`, as a decimal string."""
    tiers = [tier.price for tier in getattr(price, "tiers", ()) if tier.start <= start]
    amount = tiers[-1] if tiers else getattr(price, "base", price)
    return None if amount is None else str(amount)
