"""What tokens cost, in exact decimals, never a fraction too little."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.ext_proc.core.effects import Price
from headrace.ext_proc.core.usage import Usage
from headrace.ext_proc.engine.policy.models import Model
from headrace.ext_proc.engine.prices import nano_usd, price_for, published, spent_of, usd

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


def model(price: object) -> Model:
    return Model.model_validate({"name": "m", "price": price})


@pytest.mark.parametrize(
    ("given_price", "expected"),
    [
        ({"input": 0.60, "output": 0.80}, ("0.6", "0.8", None)),
        ({"input": 3, "output": 15, "cached_input": 0.3}, ("3", "15", "0.3")),
        ({"input": 0, "output": 0, "cached_input": 0}, ("0", "0", "0")),
    ],
)
def test_the_policys_own_price(given_price: object, expected: tuple[str, str, str | None]) -> None:
    price = price_for(model(given_price), "anything")
    assert price is not None
    found = [None if amount is None else Decimal(amount) for amount in (price.input, price.output, price.cached_input)]
    assert found == [None if amount is None else Decimal(amount) for amount in expected]
    assert price.revision == "policy"


def test_the_published_price_of_the_name_that_was_asked_for() -> None:
    price = price_for(model("auto"), "gpt-4o-mini")
    assert price is not None
    assert (Decimal(price.input), Decimal(price.output)) == (Decimal("0.15"), Decimal("0.60"))
    assert price.revision.startswith("genai-prices ")


def test_a_price_that_grows_with_the_prompt_is_that_of_short_prompts() -> None:
    price = published("gemini-2.5-pro")
    assert price is not None
    assert (Decimal(price.input), Decimal(price.output)) == (Decimal("1.25"), Decimal(10))


def test_a_model_nobody_publishes_a_price_for_has_none() -> None:
    assert price_for(model("auto"), "our-own-model") is None
