"""Names of JSON's members say what a value is, as words before it do in prose."""

import json
from pathlib import Path
from typing import Any

import pytest

from headrace.ext_proc.engine.policy.compile import Policy
from headrace.filters.pii.context import Surroundings
from headrace.filters.pii.detector import PatternDetector, entities
from headrace.filters.pii.memo import MemoDetector
from headrace.filters.pii.spans import Span

from .driver import Talk, delta, policy, user
from .vanilla import engine

CONTEXT = PatternDetector(dict.fromkeys(entities(), 0.4), context=True)
SSN, PASSPORT, ACCOUNT = "536904399", "533380006", "12345678"
SAYING: list[tuple[dict[str, Any], str]] = [
    ({"ssn": SSN}, "US_SSN"),
    ({"employee_ssn": SSN}, "US_SSN"),
    ({"employeeSSN": SSN}, "US_SSN"),
    ({"ssn": {"value": SSN}}, "US_SSN"),
    ({"ssns": [SSN]}, "US_SSN"),
    ({"staff": [{"SSN": SSN}]}, "US_SSN"),
    ({"ssn": int(SSN)}, "US_SSN"),
    ({"passportNumber": PASSPORT}, "US_PASSPORT"),
    ({"bank-account": ACCOUNT}, "US_BANK_NUMBER"),
    ({"bankaccount": ACCOUNT}, "US_BANK_NUMBER"),
    ({"card": "4111111111111112"}, "CREDIT_CARD"),
]
SILENT: list[dict[str, Any]] = [
    {"order": ACCOUNT},
    {"customer_id": PASSPORT},
    {"status": {"id": PASSPORT}},
    {"assessment": SSN},
    {"ssn": {"about": {"order": SSN}}},
    {"": SSN},
]


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Policy:
    return policy(tmp_path_factory.mktemp("both"), "response: redact")


def _call(arguments: Any) -> dict[str, Any]:
    function = {"name": "save", "arguments": json.dumps(arguments)}
    return {"role": "assistant", "content": None, "tool_calls": [{"id": "c1", "type": "function", "function": function}]}


def _chat(arguments: Any) -> tuple[str, dict[str, Any]]:
    return "/v1/chat/completions", {"model": "m", "messages": [_call(arguments)]}


def _metadata(value: Any) -> tuple[str, dict[str, Any]]:
    return "/v1/chat/completions", user("hello", metadata=value)


def _unknown(value: Any) -> tuple[str, dict[str, Any]]:
    return "/v1/chat/completions", user("hello", customer=value)


def _claude(value: Any) -> tuple[str, dict[str, Any]]:
    block = {"type": "tool_use", "id": "t1", "name": "save", "input": value}
    return "/v1/messages", {"model": "m", "max_tokens": 9, "messages": [{"role": "assistant", "content": [block]}]}


def _variables(value: Any) -> tuple[str, dict[str, Any]]:
    return "/v1/responses", {"model": "m", "input": "hello", "prompt": {"id": "p1", "variables": value}}


PLACES = [_chat, _metadata, _unknown, _claude]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(("value", "entity"), SAYING)
def test_a_name_says_what_a_value_is(both: Policy, place: Any, value: Any, entity: str) -> None:
    path, body = place(value)
    sent = json.dumps(Talk(both, path=path).sent(body))
    if place is _unknown and "ssn" in value and isinstance(value["ssn"], int):
        assert SSN in sent  # a number where nobody declares any is a setting
    else:
        assert f"<{entity}_" in sent and not any(each in sent for each in (SSN, PASSPORT, ACCOUNT, "4111111111111112"))


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("value", SILENT)
def test_other_names_say_nothing(both: Policy, place: Any, value: Any) -> None:
    path, body = place(value)
    assert Talk(both, path=path).sent(body) == body


def test_variables_of_a_prompt_are_named_by_the_client(both: Policy) -> None:
    path, body = _variables({"ssn": SSN, "order": ACCOUNT})
    sent = Talk(both, path=path).sent(body)["prompt"]["variables"]
    assert sent["ssn"].startswith("<US_SSN_") and sent["order"] == ACCOUNT


@pytest.mark.parametrize(("value", "entity"), SAYING)
def test_so_it_does_in_what_a_model_calls_a_tool_with(both: Policy, value: Any, entity: str) -> None:
    talk = Talk(both)
    talk.sent(user("hello"))
    told = talk.whole({"choices": [{"index": 0, "message": _call(value), "finish_reason": "tool_calls"}]})
    arguments = told["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"]
    assert f"<{entity}>" in arguments and json.loads(arguments).keys() == value.keys()


@pytest.mark.parametrize(("value", "entity"), SAYING)
def test_and_in_a_stream_of_it(both: Policy, value: Any, entity: str) -> None:
    talk = Talk(both)
    talk.sent(user("hello"))
    pieces = [{"index": 0, "function": {"arguments": letter}} for letter in json.dumps(value)]
    out = talk.events([*[delta(tool_calls=[piece]) for piece in pieces], delta(finish="tool_calls")])
    arguments = "".join(
        call["function"]["arguments"]
        for event in out
        for choice in event["choices"]
        for call in choice["delta"].get("tool_calls", ())
    )
    assert f"<{entity}>" in arguments and json.loads(arguments).keys() == value.keys()


def test_no_layer_of_context_means_no_names(tmp_path: Path) -> None:
    path, body = _chat({"ssn": SSN})
    assert Talk(policy(tmp_path, "layers: []"), path=path).sent(body) == body


@pytest.mark.parametrize("name", ["ssn", "social", "security", "ssid"])
def test_presidio_takes_a_dictionary_s_keys_alike(name: str) -> None:
    theirs = {each.entity_type for each in engine().analyze(SSN, "en", context=[name], score_threshold=0.4)}
    assert "US_SSN" in theirs
    assert "US_SSN" in {span.entity for span in CONTEXT.detect(SSN, about=name)}


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("customer_id", ["customer", "id"]),
        ("customerId", ["customer", "id"]),
        ("CUSTOMER-ID", ["customer", "id"]),
        ("HTTPProxy2", ["http", "proxy"]),
        ("staff.SSNs", ["staff", "ssns"]),
        ("größeÜber_straße", ["größe", "über", "straße"]),
        ("番号", ["番号"]),
        ("123 _ .", []),
    ],
)
def test_a_name_is_read_word_by_word(name: str, words: list[str]) -> None:
    surroundings = Surroundings("1", name)
    assert [word for word in words if not surroundings.may_support((word,))] == []
    assert not surroundings.may_support(("us", "ice"))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (f"{ACCOUNT}", 1),
        (f"it is {ACCOUNT}, or {PASSPORT}", 2),
        (f"the number they wrote: {ACCOUNT}", 1),
        (f"nobody could tell what number they wrote down: {ACCOUNT}", 0),
        (f"{ACCOUNT}. " + "The mill stood still all winter, and nobody asked why it did. " * 3 + ACCOUNT, 1),
    ],
)
def test_a_name_is_as_far_away_as_other_words_before_a_finding(text: str, found: int) -> None:
    spans = [span for span in CONTEXT.detect(text, about="account") if span.entity == "US_BANK_NUMBER"]
    assert len(spans) == found
    assert len(spans) == len([span for span in CONTEXT.detect(f"account: {text}") if span.entity == "US_BANK_NUMBER"])


def test_what_is_remembered_is_remembered_by_its_name() -> None:
    memo = MemoDetector(CONTEXT)
    assert memo.detect(SSN) == () == memo.detect(SSN, about="order")
    assert memo.detect(SSN, about="ssn") == (Span(0, 9, "US_SSN", 0.4),)
    assert memo.recall(SSN) == () and memo.recall(SSN, "ssn") and memo.recall(SSN, "ss") is None
    for poison in (f"ssn\0{SSN}", f"3:ssn{SSN}", f"ssn{SSN}"):
        memo.detect(poison)
    assert memo.detect(SSN, about="ss") == () and memo.recall(f"n{SSN}", "ss") is None
