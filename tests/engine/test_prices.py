"""What tokens cost, in exact decimals, never a fraction too little."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.ext_proc.core.ledger import AMOUNT_MAX
from headrace.ext_proc.core.price import Price
from headrace.ext_proc.core.usage import Usage
from headrace.ext_proc.engine.policy.models import Model
from headrace.ext_proc.engine.prices import Prices, nano_usd, published, spent_of, usd

PRICE = Price("0.60", "0.80")
COUNTS = st.integers(0, 10**9)
AMOUNTS = st.decimals(min_value=0, max_value=1000, places=6).map(str)


def test_a_million_tokens_cost_the_price() -> None:
    assert usd(Usage(1_000_000, 0), PRICE) == Decimal("0.60")
    assert usd(Usage(0, 1_000_000), PRICE) == Decimal("0.80")
    assert usd(Usage(1_000_000, 1_000_000), None) is None


def test_cached_input_has_its_own_price_where_there_is_one() -> None:
    usage = Usage(1_000_000, 0, cached_tokens=400_000)
    assert usd(usage, Price("0.60", "0.80", "0.10")) == Decimal("0.40")
    assert usd(usage, PRICE) == Decimal("0.60")
    assert usd(usage, Price("0.60", "0.80", "0")) == Decimal("0.36")


def test_more_cached_than_read_costs_no_less_than_nothing() -> None:
    assert usd(Usage(10, 0, cached_tokens=1_000_000), Price("1", "1", "0.5")) == Decimal("0.000005")


def test_what_is_put_into_the_cache_and_what_is_thought_have_prices_of_their_own() -> None:
    usage = Usage(100, 50, 20, 30, cache_write_tokens=40, cache_write_1h_tokens=10)
    dear = Price("1", "10", "0.1", "", "2", "4", "100")
    assert usd(usage, dear) == Decimal(40 * 1 + 30 * 2 + 10 * 4 + 20 * 10 + 30 * 100) / 1_000_000 + Decimal("0.000002")
    without_1h = Price("1", "10", "0.1", "", "2")
    assert usd(usage, without_1h) == Decimal(40 * 1 + 40 * 2 + 50 * 10) / 1_000_000 + Decimal("0.000002")


def test_parts_that_are_larger_than_the_whole_cost_what_the_whole_does() -> None:
    lies = Usage(10, 10, 99, 99, cache_write_tokens=99, cache_write_1h_tokens=99)
    assert usd(lies, Price("1", "1", "0.5", "", "2", "4", "3")) == Decimal(10 * 5 + 10 * 30) / 10_000_000


@pytest.mark.parametrize(("tier", "factor"), [("batch", "0.5"), ("priority", "2"), ("default", "1"), ("", "1")])
def test_a_service_tier_multiplies_the_price(tier: str, factor: str) -> None:
    price = price_of(model({"input": 1, "output": 1}, service_tiers={"batch": 0.5, "priority": 2}), "m")
    assert usd(Usage(1_000_000, 0, service_tier=tier), price) == Decimal(factor)
    published = price_of(model("auto", service_tiers={"batch": 0.5, "priority": 2}), "gpt-4o-mini")
    assert usd(Usage(1_000_000, 0, service_tier=tier), published) == Decimal(factor) * Decimal("0.15")


def test_a_fraction_of_a_nano_dollar_is_rounded_up() -> None:
    assert nano_usd(Usage(1, 0), Price("0.0001", "0")) == 1
    assert nano_usd(Usage(0, 0), PRICE) == 0
    assert nano_usd(Usage(1, 1), None) == 0


@given(st.builds(Usage, COUNTS, COUNTS, COUNTS), st.builds(Price, AMOUNTS, AMOUNTS, st.none() | AMOUNTS))
def test_money_is_never_less_than_the_exact_cost_and_less_than_one_nano_dollar_more(usage: Usage, price: Price) -> None:
    exact = usd(usage, price)
    assert exact is not None
    assert 0 <= nano_usd(usage, price) - exact * 10**9 < 1


def test_what_was_spent_in_every_unit() -> None:
    units = {"tokens": 3, "input_tokens": 1, "output_tokens": 2}
    assert spent_of(Usage(1, 2), None) == units
    assert spent_of(Usage(1, 2), Price("1", "1")) == units | {"nano_usd": 3000}


@given(st.integers(0, 3 * AMOUNT_MAX), st.integers(0, AMOUNT_MAX), AMOUNTS)
def test_whatever_a_provider_reports_every_amount_is_one_that_a_store_takes(taken: int, given: int, price: str) -> None:
    spent = spent_of(Usage(taken, given), Price(price, price))
    assert all(0 <= amount <= AMOUNT_MAX for amount in spent.values())
    assert spent["tokens"] == min(taken + given, AMOUNT_MAX)


def model(price: object, **more: object) -> Model:
    return Model.model_validate({"name": "m", "price": price, **more})


def price_of(model: Model, asked: str, prompt: int = 0) -> Price | None:
    return Prices([model]).of(model, asked, prompt)


@pytest.mark.parametrize(
    ("given_price", "expected"),
    [
        ({"input": 0.60, "output": 0.80}, ("0.6", "0.8", None)),
        ({"input": 3, "output": 15, "cached_input": 0.3}, ("3", "15", "0.3")),
        ({"input": 0, "output": 0, "cached_input": 0}, ("0", "0", "0")),
    ],
)
def test_the_policys_own_price(given_price: object, expected: tuple[str, str, str | None]) -> None:
    price = price_of(model(given_price), "anything")
    assert price is not None
    found = [None if amount is None else Decimal(amount) for amount in (price.input, price.output, price.cached_input)]
    assert found == [None if amount is None else Decimal(amount) for amount in expected]
    assert price.revision.startswith("policy ")


def test_the_published_price_of_the_name_that_was_asked_for() -> None:
    price = price_of(model("auto"), "gpt-4o-mini")
    assert price is not None
    assert (Decimal(price.input), Decimal(price.output)) == (Decimal("0.15"), Decimal("0.60"))
    assert price.revision.startswith("genai-prices ")


@pytest.mark.parametrize(
    ("prompt", "expected"), [(0, ("3", "15", "0.3", "3.75", "6")), (200_000, ("3", "15", "0.3", "3.75", "6")),
    (200_001, ("6", "22.5", "0.6", "7.5", "12"))],
)  # fmt: skip
def test_a_price_that_grows_with_the_prompt_is_that_of_the_prompt(prompt: int, expected: tuple[str, ...]) -> None:
    price = published("claude-sonnet-4-5", prompt)
    assert price is not None
    found = (price.input, price.output, price.cached_input, price.cache_write, price.cache_write_1h)
    assert found == expected


def test_two_prices_of_a_policy_have_two_revisions() -> None:
    one, other = (price_of(model({"input": 1, "output": output}), "m") for output in (1, 2))
    assert one is not None and other is not None
    assert one.revision != other.revision


def test_a_model_nobody_publishes_a_price_for_has_none() -> None:
    assert price_of(model("auto"), "our-own-model") is None
