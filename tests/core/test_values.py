"""Headers, pending edits, facts, names of principals, and the decision record."""

import json
from typing import Any

import pytest
from msgspec.structs import replace

from headrace.ext_proc.core.candidates import Candidate, candidates_metadata
from headrace.ext_proc.core.effects import Cause, Outcome, Record, Settle
from headrace.ext_proc.core.errors import HeadraceError
from headrace.ext_proc.core.facts import ESTIMATED, INPUT_TOKENS, Fact
from headrace.ext_proc.core.headers import Headers
from headrace.ext_proc.core.ledger import Sliding
from headrace.ext_proc.core.needs import Capability, Needs
from headrace.ext_proc.core.pending import Pending
from headrace.ext_proc.core.ports import StoreUnavailable
from headrace.ext_proc.core.price import Price
from headrace.ext_proc.core.principal import MAX_PART, PRINCIPAL, Principal, is_part
from headrace.ext_proc.core.terms import RESERVED
from headrace.ext_proc.core.usage import Usage
from headrace.ext_proc.core.verdict import NO_EDITS, Continue, Edits, SetMember
from tests.kit import answer_head, body, decision_in, exchange_of, filter_of, post, told

# --- headers ------------------------------------------------------------------------------------------------------------------

HEADERS = Headers([("a", "1"), ("b", "2"), ("a", "3")])


def test_headers_keep_every_value_in_order() -> None:
    assert (HEADERS.get("a"), HEADERS.get_all("a"), HEADERS.get("c"), HEADERS.get("c", "x")) == ("1", ("1", "3"), "", "x")
    assert list(HEADERS) == [("a", "1"), ("b", "2"), ("a", "3")]
    assert (list(HEADERS.names()), "a" in HEADERS, "c" in HEADERS) == (["a", "b"], True, False)


def test_headers_do_not_show_their_values() -> None:
    assert repr(HEADERS) == "Headers(['a', 'b'])"


# --- pending edits --------------------------------------------------------------------------------------------------------------


def test_the_last_edit_of_a_header_wins() -> None:
    pending = Pending()
    pending.add(Edits(set_headers={"a": "1", "b": "1"}, remove_headers=["c"]))
    pending.add(Edits(set_headers={"c": "2"}, remove_headers=["a"]))
    edits = pending.take()
    assert dict(edits.set_headers) == {"b": "1", "c": "2"}
    assert set(edits.remove_headers) == {"a", "c"}


def test_what_was_taken_is_no_longer_pending() -> None:
    pending = Pending()
    pending.add(Edits(set_headers={"a": "1"}, members=[SetMember(("x",), 1)], reroute=True))
    assert pending.take().reroute
    assert pending.take() is NO_EDITS
    assert pending.members == []


def test_members_alone_make_no_header_edits() -> None:
    pending = Pending()
    pending.add(Edits(members=[SetMember(("x",), 1)]))
    assert pending.take() is NO_EDITS
    assert pending.members == []


def test_only_spoofed_headers_ask_for_another_route() -> None:
    pending = Pending()
    pending.strip_ours(Headers([("x-other", "1")]))
    assert pending.take() is NO_EDITS
    pending.strip_ours(Headers([("x-headrace-a", "1"), ("x-headrace-a", "2")]))
    assert pending.take() == Edits({}, ("x-headrace-a",), reroute=True)


def test_headers_to_remove_may_be_named_when_edits_are_taken() -> None:
    assert Pending().take(remove=("content-length",)).remove_headers == ("content-length",)


# --- ledger and ports -----------------------------------------------------------------------------------------------------------


def test_a_window_of_one_millisecond_is_the_shortest() -> None:
    assert Sliding(1).length_ms == 1


def test_a_store_that_is_away_is_an_error_of_ours() -> None:
    assert issubclass(StoreUnavailable, HeadraceError)


# --- principals -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("part", ["a", "ann@example.org", "Straße 1", "x" * MAX_PART])
def test_names_of_a_principal(part: str) -> None:
    assert is_part(part)


@pytest.mark.parametrize("part", ["", " a", "a ", "{a}", "a}", "a\n", "a\x00", "\ud800", "x" * (MAX_PART + 1)])
def test_what_cannot_name_a_principal(part: str) -> None:
    assert not is_part(part)


# --- the decision record ----------------------------------------------------------------------------------------------------------


async def record_of(path: str, document: dict[str, Any]) -> dict[str, Any]:
    ann = Principal(team="blue", user="ann")
    verdict = Continue(facts={PRINCIPAL: ann}, metadata={"lease": "e1"}, note={"key": "k1"})
    knows = filter_of(needs=Needs.REQUEST_BODY, on_headers=verdict)
    exchange = exchange_of(knows)
    await told(exchange, post(path), body(document))
    return dict(decision_in(exchange.close()))


async def test_a_record_says_who_asked_for_what_and_how_it_ended_and_no_text() -> None:
    document = {"model": "m", "stream": True, "messages": [{"role": "user", "content": "secret words"}]}
    record = await record_of("/v1/chat/completions?key=secret", document)
    steps = record.pop("steps")
    assert record.pop("elapsed_us") > 0
    record.pop("start_ms", None)
    assert record == {
        "exchange": "e1",
        "revision": "r1",
        "method": "POST",
        "path": "/v1/chat/completions",
        "endpoint": "chat",
        "model": "m",
        "stream": True,
        "principal": {"organisation": "default", "team": "blue", "user": "ann"},
        "outcome": "handed_off",
        "metadata": {"lease": "e1"},
    }
    assert [(step["filter"], step["phase"], step["outcome"]) for step in steps] == [
        ("f0", "headers", "continue"),
        ("f0", "request", "continue"),
    ]
    assert steps[0]["note"] == {"key": "k1"}
    assert "secret" not in json.dumps([record, steps])


async def test_a_record_can_be_written_whatever_the_client_sends() -> None:
    record = await record_of("/\udcff/" + "x" * 500 + "/chat/completions", {"model": "m" * 500, "messages": []})
    assert len(record["model"]) == 200
    assert record["path"].startswith("/\\udcff/xxx")
    json.dumps(record).encode()


async def test_a_record_has_the_usage_that_passed_through() -> None:
    exchange = exchange_of(filter_of())
    await told(exchange, post())
    record = exchange.decision.record(Outcome(Cause.COMPLETED, 200, Usage(1, 2)))
    assert record.members["usage"] == {"input_tokens": 1, "output_tokens": 2, "cached_tokens": 0, "reasoning_tokens": 0}
    assert record.members["status"] == 200


async def test_a_record_says_what_was_counted_and_held_and_who_answered_and_a_settlement_goes_by_it() -> None:
    gpu, cloud = Candidate("gpu", "llama"), Candidate("cloud", "cheap", Price("3", "4"))
    facts: dict[Fact[Any], Any] = {INPUT_TOKENS: 5, ESTIMATED: 7, RESERVED: Usage(5, 6)}
    metadata = {**candidates_metadata([gpu, cloud])}
    needs, settles = Needs.REQUEST_BODY | Needs.RESPONSE_HEADERS, Settle("o", "e1", Usage(5, 2))
    counts = filter_of(needs=needs, on_request=Continue(facts=facts, metadata=metadata), close=[settles])
    exchange = exchange_of(counts)
    exchange.decision.start_ms = 1_795_000_000_000
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    await told(exchange, post(traceparent=trace), body(), replace(answer_head(), upstream="cloud"))
    settle, record = exchange.close(Cause.COMPLETED)
    assert isinstance(settle, Settle)
    assert settle.price == cloud.price
    assert isinstance(record, Record)
    told_of = {"start_ms": 1_795_000_000_000, "input_tokens": 5, "estimated": 7, "reserved": Usage(5, 6).members}
    assert record.members.items() >= told_of.items()
    assert (record.members["traceparent"], record.members["route"], record.members["failed"]) == (trace, "cloud", ["gpu"])


def test_an_exchange_that_saw_nothing_has_a_record_of_nothing() -> None:
    record = decision_in(exchange_of().close())
    assert record["outcome"] == "aborted"
    assert not {"method", "path", "model"} & set(record)


def test_a_capability_contains_itself_and_its_parts_and_no_others() -> None:
    both = Capability.ACCESS_LOG | Capability.FAILOVER
    assert Capability.FAILOVER in both
    assert both in both
    assert Capability.TRIAL not in both
    assert both not in Capability.ACCESS_LOG
