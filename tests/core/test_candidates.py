"""Candidates as the gateway is told of them, and who is charged for what one of them answered."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.ext_proc.core.candidates import Answered, Candidate, answered, candidates_metadata, candidates_of, settled_as
from headrace.ext_proc.core.effects import Record, Release, Settle
from headrace.ext_proc.core.endpoint import Endpoint
from headrace.ext_proc.core.price import Price
from headrace.ext_proc.core.settlement import Finished, settlement
from headrace.ext_proc.core.terms import Terms, written
from headrace.ext_proc.core.usage import Usage

PRICE = Price("1", "2")
CANDIDATES = [
    Candidate("gpu", "llama", PRICE),
    Candidate("cloud", "cheap", Price("3", "4", "1")),
    Candidate("own", "free", None, ("low", "high")),
]
TERMS = Terms(1, "acme", None, None, None, None, "llama", "llama", Endpoint.CHAT, False, (5, 6), PRICE, None)

texts = st.text(st.characters(codec="utf-8"), max_size=20)


@given(st.lists(st.builds(Candidate, texts, texts, st.none() | st.just(PRICE)), max_size=8))
def test_what_is_told_is_read_back(candidates: list[Candidate]) -> None:
    assert candidates_of(candidates_metadata(candidates)) == candidates


def test_the_time_to_the_first_token_is_told_where_there_is_one() -> None:
    assert "first_token_ms" not in candidates_metadata(CANDIDATES)
    assert candidates_metadata(CANDIDATES, 300)["first_token_ms"] == 300


@pytest.mark.parametrize("told", [None, 5, "", "{}", "[[1, 2]]", '["gpu"]', "\ud800", "[" * 100_000, '[["a", "b", ["x", "1"]]]'])
def test_what_is_not_ours_is_nobody(told: Any) -> None:
    assert candidates_of({"candidates": told}) == ()


def test_who_answered_is_found_by_name_and_whoever_stood_before_it_has_failed() -> None:
    told = candidates_metadata(CANDIDATES)
    assert answered(told, "gpu") == Answered(CANDIDATES[0], [])
    assert answered(told, "own") == Answered(CANDIDATES[2], ["gpu", "cloud"])
    assert answered(told, "") is None
    assert answered({}, "cloud") is None


def test_a_settlement_is_at_the_price_of_who_answered() -> None:
    settle = Settle("acme", "l1", Usage(1, 2), PRICE, context={"route": "gpu"})
    assert settled_as(settle, None) is settle
    charged = settled_as(settle, Answered(CANDIDATES[1], ["gpu"]))
    assert isinstance(charged, Settle)
    assert charged.price == CANDIDATES[1].price
    assert charged.context == {"route": "cloud", "served": "cheap", "failed": ["gpu"], "reason": "routing.failover"}


def test_where_the_first_one_answered_nothing_failed() -> None:
    first = settled_as(Settle("acme", "l1", None, PRICE), Answered(CANDIDATES[0], []))
    assert first == Settle("acme", "l1", None, PRICE, context={"route": "gpu", "served": "llama"})


def test_a_release_tells_who_failed_and_a_record_is_what_it_is() -> None:
    last = Answered(CANDIDATES[1], ["gpu"])
    assert settled_as(Release("acme", "l1"), last) == Release("acme", "l1", {**last.members, "reason": "routing.failover"})
    record = Record("decision")
    assert settled_as(record, last) is record


def test_the_gateways_log_says_who_answered() -> None:
    told = {"exchange": "e1", "settle": "access_log", "lease": written(TERMS), "route": "gpu", **candidates_metadata(CANDIDATES)}
    usage = {"prompt_tokens": 3.0, "completion_tokens": 4.0}
    [effect] = settlement(Finished(told, usage, 200, True, upstream="cloud"))
    assert isinstance(effect, Settle)
    assert effect.price == CANDIDATES[1].price
    assert (effect.context["route"], effect.context["served"], effect.context["failed"]) == ("cloud", "cheap", ["gpu"])
    [primary] = settlement(Finished(told, usage, 200, True))
    assert isinstance(primary, Settle)
    assert primary.price == PRICE
