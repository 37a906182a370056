"""What becomes of a lease, by the gateway's account of how the request ended."""

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.ext_proc.core.effects import Price, Release, Settle
from headrace.ext_proc.core.settlement import Finished, costs_nothing, price_metadata, price_of, settlement
from headrace.ext_proc.core.usage import Usage

TOLD = {"exchange": "e1", "lease": "l1", "organisation": "acme", "settle": "access_log", "model": "m", "price_input": "0.6"}
USAGE = {"prompt_tokens": 3.0, "completion_tokens": 4.0, "cached_tokens": 2.0, "reasoning_tokens": 1.0}


def entry(
    *, metadata: Mapping[str, Any] = TOLD, usage: Mapping[str, Any] = USAGE, status: int = 200, reached_upstream: bool = True
) -> Finished:
    return Finished(metadata, usage, status, reached_upstream, duration_ms=12.5, start_ms=1000)


def test_reported_usage_is_settled_with_the_price_told_at_admission() -> None:
    priced = {**TOLD, "price_output": "0.8", "price_cached_input": "0.1", "price_revision": "r7"}
    (effect,) = settlement(entry(metadata=priced))
    assert isinstance(effect, Settle)
    assert (effect.organisation, effect.lease) == ("acme", "l1")
    assert effect.usage == Usage(3, 4, 2, 1)
    assert effect.price == Price("0.6", "0.8", "0.1", "r7")


def test_the_record_shows_what_was_told_and_seen_and_nothing_else() -> None:
    told = {**TOLD, "route": "gpu", "endpoint": "chat", "stream": 1.0, "secret": "x"}
    (effect,) = settlement(entry(metadata=told))
    seen = {"status": 200, "duration_ms": 12.5, "start_ms": 1000}
    named = {"exchange": "e1", "organisation": "acme", "model": "m", "route": "gpu", "endpoint": "chat", "stream": 1.0}
    assert effect == Settle("acme", "l1", Usage(3, 4, 2, 1), None, named | seen)
    (timed,) = settlement(Finished(told, {}, 200, True, first_byte_ms=3.5))
    assert isinstance(timed, Settle)
    assert timed.context["first_byte_ms"] == 3.5


@pytest.mark.parametrize(
    "told",
    [
        {},
        {**TOLD, "settle": "stream"},
        {name: value for name, value in TOLD.items() if name != "settle"},
        {name: value for name, value in TOLD.items() if name != "exchange"},
        {**TOLD, "exchange": 7.0},
    ],
    ids=["not ours", "settled from the stream", "handed over unasked", "no exchange", "exchange is no name"],
)
def test_entries_that_are_nothing_of_ours(told: Mapping[str, Any]) -> None:
    assert settlement(entry(metadata=told)) == ()


@pytest.mark.parametrize("missing", ["lease", "organisation"])
def test_usage_without_a_lease_is_only_recorded(missing: str) -> None:
    told = {name: value for name, value in TOLD.items() if name != missing}
    (effect,) = settlement(entry(metadata=told))
    assert isinstance(effect, Settle)
    assert (effect.lease, effect.usage) == (None, Usage(3, 4, 2, 1))


@pytest.mark.parametrize(
    ("endpoint", "usage", "expected"),
    [
        ("messages", {"input_tokens": 9.0, "cache_read_input_tokens": 4.0}, None),
        ("messages", {"input_tokens": 9.0, "output_tokens": 2.0}, Usage(9, 2)),
        ("chat", {"prompt_tokens": 9.0, "completion_tokens": -1.0}, None),
        ("embeddings", {"prompt_tokens": 9.0}, Usage(9, 0)),
    ],
)
def test_usage_without_the_answers_part_is_no_sum_unless_there_is_no_answer(
    endpoint: str, usage: Mapping[str, Any], expected: Usage | None
) -> None:
    (effect,) = settlement(entry(metadata={**TOLD, "endpoint": endpoint}, usage=usage))
    assert isinstance(effect, Settle)
    assert effect.usage == expected


ENDINGS = [
    ("answered, usage not reported", 200, True, "kept"),
    ("client hung up before the answer", 0, True, "kept"),
    ("upstream refused", 429, True, "released"),
    ("upstream failed", 503, True, "released"),
    ("never reached an upstream", 503, False, "released"),
    ("client hung up before the upstream", 0, False, "released"),
]


@pytest.mark.parametrize(("status", "reached", "becomes"), [row[1:] for row in ENDINGS], ids=[row[0] for row in ENDINGS])
def test_without_usage_the_reserved_amount_stands_unless_the_upstream_never_took_the_request(
    status: int, reached: bool, becomes: str
) -> None:
    (effect,) = settlement(entry(usage={}, status=status, reached_upstream=reached))
    if becomes == "released":
        assert isinstance(effect, Release)
        assert effect.lease == "l1"
    else:
        assert isinstance(effect, Settle)
        assert effect.usage is None


def test_usage_counts_whatever_the_status() -> None:
    (effect,) = settlement(entry(status=500, reached_upstream=False))
    assert isinstance(effect, Settle)
    assert effect.usage == Usage(3, 4, 2, 1)


def test_anthropics_flat_keys() -> None:
    usage = {"input_tokens": 3, "output_tokens": 4, "cache_read_input_tokens": 2, "cache_creation_input_tokens": 1}
    (effect,) = settlement(entry(usage=usage))
    assert isinstance(effect, Settle)
    assert effect.usage == Usage(6, 4, 2)


@pytest.mark.parametrize(
    ("status", "reached", "free"),
    [(None, True, False), (399, True, False), (400, True, True), (200, False, True), (None, False, True)],
)
def test_what_costs_nothing(status: int | None, reached: bool, free: bool) -> None:
    assert costs_nothing(status, reached_upstream=reached) is free


PRICE = st.decimals(min_value=0, max_value=1000, places=4).map(str)


@given(st.builds(Price, input=PRICE, output=PRICE, cached_input=st.none() | PRICE, revision=st.text()))
def test_a_price_survives_the_way_through_the_gateway(price: Price) -> None:
    assert price_of(price_metadata(price)) == price


NO_PRICE = [{}, {"price_input": "1"}, {"price_output": "1"}, {"price_input": 1.0, "price_output": "1"}]
NO_AMOUNTS = [{"price_input": "1", "price_output": amount} for amount in ("", "free", "NaN", "Infinity", "-1", "1 USD")]


@pytest.mark.parametrize("told", [*NO_PRICE, *NO_AMOUNTS])
def test_half_a_price_is_none(told: Mapping[str, Any]) -> None:
    assert price_of(told) is None


def test_a_price_whose_other_members_are_no_strings() -> None:
    told = {"price_input": "1", "price_output": "2", "price_cached_input": 3.0, "price_revision": 4.0}
    assert price_of(told) == Price("1", "2")
