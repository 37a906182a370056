"""Facts of one exchange."""

from headrace.ext_proc.core.facts import INPUT_TOKENS, MODEL, PLACEMENT, ROUTE, Facts
from headrace.ext_proc.core.price import Price
from headrace.ext_proc.core.terms import PRICE
from headrace.ext_proc.core.verdict import Continue
from tests.kit import exchange_of, filter_of, last, post


def test_a_filter_in_shadow_gives_findings_and_no_orders() -> None:
    facts = Facts()
    facts.add({MODEL: "m", ROUTE: "pool", PLACEMENT: frozenset({"local"})}, shadow=True)
    assert (facts.get(MODEL), facts.get(ROUTE), facts.get(PLACEMENT)) == ("m", None, None)
    facts.add({PLACEMENT: frozenset({"local"})})
    assert facts.get(PLACEMENT) == frozenset({"local"})


def test_facts_about_the_body_are_forgotten_when_it_changes() -> None:
    facts = Facts()
    facts.add({INPUT_TOKENS: 5, ROUTE: "pool"})
    facts.body_changed()
    assert (facts.get(INPUT_TOKENS), facts.get(ROUTE)) == (None, "pool")


async def test_the_price_is_known_once_a_filter_has_told_it() -> None:
    free = exchange_of(filter_of())
    await last(free, post())
    assert free.price is None
    priced = exchange_of(filter_of(on_request=Continue(facts={PRICE: Price("1", "2")})))
    await last(priced, post())
    assert priced.price == Price("1", "2")
