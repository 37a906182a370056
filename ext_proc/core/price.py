"""What tokens cost, in decimal strings: exact, and the same on the wire as in memory."""

from decimal import Decimal, InvalidOperation
from functools import lru_cache

from msgspec import Struct


class Price(Struct, frozen=True, array_like=True):
    """USD per million tokens, and the revision of the table they come from.

    cached_input, cache_write, cache_write_1h: of prompt tokens that the provider read from its cache, or wrote to it (for an
    hour); None: as input. reasoning: None: as output. service_tiers: (name, factor) of tiers that cost another multiple, such as
    ("batch", "0.5").
    """

    input: str
    output: str
    cached_input: str | None = None
    revision: str = ""
    cache_write: str | None = None
    cache_write_1h: str | None = None
    reasoning: str | None = None
    service_tiers: tuple[tuple[str, str], ...] = ()


@lru_cache(256)  # policies have few prices
def is_price(price: Price) -> bool:
    """Whether its strings are amounts: whoever can write the gateway's log must not stop those who settle by it."""
    optional = (price.cached_input, price.cache_write, price.cache_write_1h, price.reasoning)
    given = [price.input, price.output, *(amount for amount in optional if amount is not None)]
    return all(map(_is_amount, [*given, *(factor for _, factor in price.service_tiers)]))


def _is_amount(value: str) -> bool:
    try:
        number = Decimal(value)
    except InvalidOperation:
        return False
    return number.is_finite() and 0 <= number < MAX_AMOUNT


MAX_AMOUNT = Decimal(10**12)
"""Far above any price; a product of two and a count of tokens stays within what Decimal computes exactly enough."""
