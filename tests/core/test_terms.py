"""The terms of a settlement survive the way through the gateway, and nothing else passes for them."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.ext_proc.core.endpoint import Endpoint
from headrace.ext_proc.core.ledger import AMOUNT_MAX
from headrace.ext_proc.core.needs import Needs
from headrace.ext_proc.core.price import Price
from headrace.ext_proc.core.principal import PRINCIPAL, Principal
from headrace.ext_proc.core.terms import MAX_MODEL, RESERVED, Terms, read, terms_of, written
from headrace.ext_proc.core.usage import Usage
from headrace.ext_proc.core.verdict import Continue
from tests.kit import CHAT, body, exchange_of, filter_of, last, post, proceeds

TERMS = Terms(1, "acme", "blue", None, "ann", None, "m", "m", Endpoint.CHAT, False, (8, 100), Price("1", "2"), None)
PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

AMOUNT = st.decimals(min_value=0, max_value=1000, places=4).map(str)
PART = st.text(min_size=1, max_size=256)
TOKENS = st.integers(0, AMOUNT_MAX)
PRICES = st.builds(
    Price, input=AMOUNT, output=AMOUNT, cached_input=st.none() | AMOUNT, revision=st.text(), cache_write=st.none() | AMOUNT,
    cache_write_1h=st.none() | AMOUNT, reasoning=st.none() | AMOUNT, service_tiers=st.tuples(st.tuples(st.text(), AMOUNT)),
)  # fmt: skip
ANY_TERMS = st.builds(
    Terms, version=st.just(1), organisation=PART, team=st.none() | PART, app=st.none() | PART, user=st.none() | PART,
    key=st.none() | PART, asked=st.text(max_size=MAX_MODEL), model=st.none() | st.text(max_size=MAX_MODEL),
    endpoint=st.sampled_from(Endpoint), stream=st.booleans(), reserved=st.none() | st.tuples(TOKENS, TOKENS),
    price=st.none() | PRICES, traceparent=st.none() | st.just(PARENT),
)  # fmt: skip


@given(ANY_TERMS)
def test_terms_survive_the_way_through_the_gateway(terms: Terms) -> None:
    assert read(written(terms)) == terms


def wrong(place: int, value: Any) -> str:
    """TERMS with another value at `place`."""
    members = json.loads(written(TERMS))
    members[place] = value
    return json.dumps(members)


def priced(**changes: Any) -> str:
    price = msgspec.structs.replace(Price("1", "2"), **changes)
    return written(msgspec.structs.replace(TERMS, price=price))


NOT_OURS = [None, 7.0, "", "[]", "{}", "null", "[1", "\ud800", "[" * 100_000, '"' + "x" * 99, written(TERMS)[:-1], "[1,2]"]
NOT_TERMS = [
    wrong(0, 2), wrong(1, ""), wrong(1, None), wrong(1, "x" * 257), wrong(2, 7), wrong(6, "m" * 201), wrong(8, "chats"),
    wrong(9, 1), wrong(10, [1]), wrong(10, [-1, 2]), wrong(10, [1, 2**53 + 1]), wrong(10, [1.5, 2]), wrong(12, "00-xyz-01"),
]  # fmt: skip
BAD_AMOUNTS = ("", "free", "NaN", "Infinity", "-1", "1 USD", "1e40")
NOT_PRICES = [
    *(priced(**{name: bad}) for bad in BAD_AMOUNTS for name in ("input", "output", "cached_input", "cache_write", "reasoning")),
    priced(service_tiers=(("batch", "-0.5"),)),
    wrong(11, {"input": "1"}),
]


@pytest.mark.parametrize("text", [*NOT_OURS, *NOT_TERMS, *NOT_PRICES], ids=lambda value: repr(value)[:70])
def test_what_this_version_could_not_have_written_is_nothing(text: Any) -> None:
    assert read(text) is None


def test_what_a_record_shows() -> None:
    named = {"organisation": "acme", "team": "blue", "user": "ann", "asked": "m", "model": "m"}
    assert TERMS.members == named | {"endpoint": "chat", "stream": False}
    assert TERMS.most == Usage(8, 100)
    assert msgspec.structs.replace(TERMS, reserved=None).most is None


async def test_the_terms_of_an_exchange_are_those_of_its_facts() -> None:
    ann = Principal("acme", user="ann")
    knows = filter_of(on_headers=Continue(facts={PRINCIPAL: ann, RESERVED: Usage(3, 4)}))
    terms = read(proceeds(await last(exchange_of(knows), post(traceparent=PARENT))).metadata["lease"])
    assert terms is not None
    assert (terms.organisation, terms.user, terms.reserved, terms.traceparent) == ("acme", "ann", (3, 4), PARENT)
    assert (terms.asked, terms.stream) == ("", False)  # nobody needed the body


async def test_a_long_name_of_a_model_is_cut() -> None:
    exchange = exchange_of(filter_of(needs=Needs.REQUEST_BODY))
    answer = proceeds(await last(exchange, post(), body({**CHAT, "model": "m" * 999, "stream": True})))
    terms = read(answer.metadata["lease"])
    assert terms is not None and terms == terms_of(exchange._request)
    assert (terms.asked, terms.stream, terms.organisation) == ("m" * MAX_MODEL, True, "default")
