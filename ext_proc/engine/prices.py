"""What tokens cost: Decimal arithmetic over a price per million tokens, whole nano-USD at the end, rounded up."""

from decimal import ROUND_CEILING, Decimal

from headrace.ext_proc.core.effects import Price
from headrace.ext_proc.core.ledger import Spent
from headrace.ext_proc.core.usage import Usage

MILLION = Decimal(1_000_000)
NANO = Decimal(1_000_000_000)


def usd(usage: Usage, price: Price | None) -> Decimal | None:
    """US dollars for `usage`, or None without a price. Cached input costs the input price where it has none of its own."""
    if price is None:
        return None
    cached = Decimal(price.cached_input if price.cached_input is not None else price.input)
    fresh = usage.input_tokens - min(usage.cached_tokens, usage.input_tokens)
    total = Decimal(price.input) * fresh + cached * (usage.input_tokens - fresh) + Decimal(price.output) * usage.output_tokens
    return total / MILLION


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
