"""What tokens cost: Decimal arithmetic over a price per million tokens, whole nano-USD at the end, rounded up."""

from decimal import ROUND_CEILING, Decimal
from functools import lru_cache
from typing import Any

from headrace.ext_proc.core.effects import Price
from headrace.ext_proc.core.ledger import Spent
from headrace.ext_proc.core.usage import Usage
from headrace.ext_proc.engine.policy.models import Model

MILLION = Decimal(1_000_000)
NANO = Decimal(1_000_000_000)


def usd(usage: Usage, price: Price | None) -> Decimal | None:
    """US dollars for `usage`, or None without a price. Cached input costs the input price where it has none of its own."""
    if price is None:
        return None
    given, cached, taken = _rates(price)
    fresh = usage.input_tokens - min(usage.cached_tokens, usage.input_tokens)
    return given * fresh + cached * (usage.input_tokens - fresh) + taken * usage.output_tokens


@lru_cache(256)
def _rates(price: Price) -> tuple[Decimal, Decimal, Decimal]:
    """USD per token of fresh input, of cached input, and of output."""
    cached = price.cached_input if price.cached_input is not None else price.input
    return Decimal(price.input) / MILLION, Decimal(cached) / MILLION, Decimal(price.output) / MILLION


def nano_usd(usage: Usage, price: Price | None) -> int:
    """Whole nano-USD, rounded up: a store's counters are integers, and a budget is never undercharged by rounding."""
    cost = usd(usage, price)
    return 0 if cost is None else int((cost * NANO).to_integral_value(ROUND_CEILING))


def spent_of(usage: Usage, price: Price | None) -> Spent:
    """`usage` in every unit a budget may have. Requests are left as reserved: the request took place."""
    spent: Spent = {
        "tokens": usage.total_tokens,
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
    }
    return spent if price is None else {**spent, "nano_usd": nano_usd(usage, price)}


def price_for(model: Model, asked: str) -> Price | None:
    """The model's price: the policy's own, else the published one of the name the client asked for; None where neither is known."""
    if not isinstance(model.price, str):
        price = model.price
        cached = None if price.cached_input is None else str(price.cached_input)
        return Price(str(price.input), str(price.output), cached, "policy")
    return published(asked)


@lru_cache(1024)
def published(name: str) -> Price | None:
    """The price `genai-prices` publishes for `name`; of prices that grow with the prompt, the one of short prompts."""
    import genai_prices

    try:
        found = genai_prices.calc_price(genai_prices.Usage(input_tokens=0, output_tokens=0), model_ref=name).model_price
    except LookupError:
        return None
    given, taken = _base(found.input_mtok), _base(found.output_mtok)
    if given is None and taken is None:
        return None
    return Price(given or "0", taken or "0", _base(found.cache_read_mtok), f"genai-prices {genai_prices.__version__}")


def _base(price: Any) -> str | None:
    """A flat price, or the first tier of a tiered one, as a decimal string."""
    amount = getattr(price, "base", price)
    return None if amount is None else str(amount)
