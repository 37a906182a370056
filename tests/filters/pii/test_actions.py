"""An action for each entity, direction and caller; where a request with regulated data may go."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from headrace.ext_proc.core.effects import Record
from headrace.ext_proc.core.events import Proceed
from headrace.ext_proc.core.facts import PLACEMENT, ROUTE
from headrace.ext_proc.engine.policy.problems import PolicyErrors
from headrace.filters.pii.action_settings import Mask, Route
from headrace.filters.pii.actions import hashed, masked
from headrace.filters.pii.placing import common
from headrace.filters.pii.spans import Span
from headrace.filters.pii.treatment import Treatment
from tests.filters.compiled import compiled

from .driver import Talk, delta, joined, policy, user

EMAIL = "jane.doe@example.com"
CARD = "4111 1111 1111 1111"
PHONE = "+1 415-555-2671"


def _content(settings: str, directory: Path, text: str) -> str:
    return str(Talk(policy(directory, settings)).sent(user(text))["messages"][0]["content"])


def _note(talk: Talk) -> dict[str, Any]:
    (record,) = [effect for effect in talk.close() if isinstance(effect, Record) and effect.kind == "decision"]
    return dict(next(step["note"] for step in record.members["steps"] if step["filter"] == "pii"))


def test_each_entity_has_its_own_action_and_the_others_the_default(tmp_path: Path) -> None:
    actions = "{default: redact, CREDIT_CARD: {mask: 4}, PHONE_NUMBER: report, EMAIL_ADDRESS: hash, IP_ADDRESS: off}"
    entities = "[CREDIT_CARD, PHONE_NUMBER, EMAIL_ADDRESS, IP_ADDRESS, IBAN_CODE, URL]"
    text = f"{EMAIL}; {CARD}; {PHONE}; 10.0.0.1; DE89370400440532013000"
    sent = _content(f"request: {actions}, entities: {entities}", tmp_path, text)
    assert re.fullmatch(r"<EMAIL_ADDRESS#[0-9a-f]{16}>; \*{15}1111; \+1 415-555-2671; 10\.0\.0\.1; <IBAN_CODE>", sent)


def test_without_a_default_requests_replace_and_answers_are_not_searched(tmp_path: Path) -> None:
    settings = "request: {CREDIT_CARD: redact}, response: {CREDIT_CARD: redact}"
    talk = Talk(policy(tmp_path, settings))
    sent = talk.sent(user(f"{CARD} {EMAIL}"))["messages"][0]["content"]
    assert re.fullmatch("<CREDIT_CARD> <EMAIL_ADDRESS_[a-z2-7]{8}>", sent)
    answer = talk.whole({"choices": [{"message": {"content": f"{CARD} joan@example.org"}}]})
    assert answer["choices"][0]["message"]["content"] == "<CREDIT_CARD> joan@example.org"


@pytest.mark.parametrize(
    ("value", "kept", "expected"), [("4111", 4, "**11"), ("4111", 1, "***1"), ("41111", 0, "*****"), ("a", 4, "*"), ("", 4, "")]
)
def test_a_mask_leaves_no_more_than_half_of_a_value(value: str, kept: int, expected: str) -> None:
    assert masked(value, kept) == expected


def test_a_hash_is_the_same_for_the_same_value_of_one_organisation_only() -> None:
    assert hashed(b"acme", "URL", "x") == hashed(b"acme", "URL", "x") != hashed(b"other", "URL", "x")
    assert hashed(b"acme", "URL", "x") != hashed(b"acme", "URL", "y")
    assert hashed(b"acme", "URL", "x").startswith("<URL#") != hashed(b"acme", "UUID", "x").startswith("<URL#")


def test_where_findings_overlap_the_strictest_treatment_names_them_all() -> None:
    treatment = Treatment({"default": "report", "EMAIL_ADDRESS": "replace", "URL": "block", "PERSON": "off"}, "replace")
    spans = [Span(0, 20, "EMAIL_ADDRESS", 1.0), Span(9, 20, "URL", 0.5), Span(15, 30, "US_SSN", 0.9), Span(40, 45, "PERSON", 1.0)]
    assert treatment.apart(spans) == [Span(0, 30, "URL", 0.5)]
    assert treatment.apart(spans[:1] + spans[3:]) == spans[:1]


def test_blocking_one_entity_names_only_what_is_blocked(tmp_path: Path) -> None:
    talk = Talk(policy(tmp_path, "request: {CREDIT_CARD: block}"))
    assert isinstance(talk.ask(user(EMAIL)), Proceed)
    refusal = Talk(talk.policy).refused(user(EMAIL, user=CARD))
    message = json.loads(refusal.body)["error"]["message"]
    assert (refusal.status, refusal.reason) == (400, "pii.blocked")
    assert "CREDIT_CARD at user" in message and "EMAIL" not in message and "messages" not in message


def test_a_name_of_a_member_with_a_finding_that_is_only_reported_passes(tmp_path: Path) -> None:
    body = user("hi", metadata={EMAIL: "x"})
    assert Talk(policy(tmp_path, "request: {EMAIL_ADDRESS: report, URL: report}")).sent(body) == body


def test_half_a_surrogate_pair_beside_a_reported_finding_changes_nothing(tmp_path: Path) -> None:
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"a": "\\ud800", "to": "a@b.com"}'}}
    body = {"model": "m", "messages": [{"role": "assistant", "tool_calls": [call]}]}
    assert Talk(policy(tmp_path, "request: report")).sent(body) == body


def test_the_decision_tells_what_was_done_with_each_entity(tmp_path: Path) -> None:
    talk = Talk(policy(tmp_path, "request: {CREDIT_CARD: redact, EMAIL_ADDRESS: {mask: 2}}"))
    talk.sent(user(f"{CARD} {EMAIL}"))
    assert _note(talk)["action"] == {"CREDIT_CARD": "redact", "EMAIL_ADDRESS": "mask"}


def test_a_streamed_answer_is_treated_entity_by_entity(tmp_path: Path) -> None:
    talk = Talk(policy(tmp_path, "response: {CREDIT_CARD: {mask: 4}, URL: report, EMAIL_ADDRESS: redact}"))
    talk.sent(user("hi"))
    said = f"{CARD} https://example.com/x {EMAIL} {PHONE}"
    events = talk.events([*(delta(content=letter) for letter in said), delta(finish="stop"), "[DONE]"])
    assert joined(events) == f"***************1111 https://example.com/x <EMAIL_ADDRESS> {PHONE}"


# --- callers ---------------------------------------------------------------------------------------------------------------------

TENANTS = """
version: 1
models: [{name: m}]
identity:
  - headers: {organisation: x-org}
filters:
  - identity: {}
  - pii: {model: none, request: {EMAIL_ADDRESS: redact}}
overrides:
  - when: {organisation: bank}
    set: {pii: {request: {EMAIL_ADDRESS: block}}}
"""


def test_a_tenant_has_actions_of_its_own(tmp_path: Path) -> None:
    used = compiled(tmp_path, TENANTS)
    shop = Talk(used, headers=(("x-org", "shop"),)).sent(user(EMAIL))
    assert shop["messages"][0]["content"] == "<EMAIL_ADDRESS>"
    assert Talk(used, headers=(("x-org", "bank"),)).refused(user(EMAIL)).reason == "pii.blocked"


# --- where a request may go ------------------------------------------------------------------------------------------------------

POOLS = """
version: 1
upstreams:
  cloud: {{url: "https://api.example.com"}}
  local: {{url: "http://10.0.0.7:8000"}}
  other: {{url: "http://10.0.0.8:8000"}}
  spare: {{url: "http://10.0.0.9:8000"}}
models: [{{name: m, pools: [{pools}], context: 20000, max_output: 100}}]
filters:
{chain}
"""
ROUTED = "  - pii: {model: none, request: {US_SSN: {route: local}, CREDIT_CARD: {route: [other, local]}, UUID: {route: cloud}}}\n"
SSN = "SSN 536-90-4399"


def _pools(directory: Path, chain: str) -> Any:
    pools = "{upstream: cloud, max_tokens: 8000}, {upstream: local, max_tokens: 9000}, {upstream: other}"
    return compiled(directory, POOLS.format(chain=chain, pools=pools))


def test_regulated_data_is_left_as_it_is_and_placed(tmp_path: Path) -> None:
    talk = Talk(_pools(tmp_path, ROUTED + "  - routing: {}\n"))
    answer = talk.ask(user(f"{SSN}, {CARD}, {EMAIL}"))
    assert isinstance(answer, Proceed) and answer.body is not None
    assert SSN in answer.body.decode() and CARD in answer.body.decode() and EMAIL not in answer.body.decode()
    facts = talk.exchange._request.facts
    assert (facts.get(PLACEMENT), facts.get(ROUTE)) == (frozenset({"local"}), "local")
    note = _note(talk)
    assert note["upstreams"] == ["local"]
    assert note["action"] == {"US_SSN": "route", "CREDIT_CARD": "route", "EMAIL_ADDRESS": "replace"}


def test_data_that_no_upstream_may_have_together_is_refused(tmp_path: Path) -> None:
    refusal = Talk(_pools(tmp_path, ROUTED + "  - routing: {}\n")).refused(user(f"{SSN} 123e4567-e89b-42d3-a456-426614174000"))
    assert (refusal.status, refusal.reason) == (403, "pii.no_upstream")
    assert b"US_SSN, UUID" in refusal.body and SSN.encode() not in refusal.body


def test_in_shadow_nothing_is_placed(tmp_path: Path) -> None:
    talk = Talk(_pools(tmp_path, ROUTED.replace("model: none", "model: none, mode: shadow") + "  - routing: {}\n"))
    talk.ask(user(SSN))
    assert talk.exchange._request.facts.get(PLACEMENT) is None


def test_an_earlier_placement_is_narrowed_and_never_widened() -> None:
    assert common({"A": frozenset({"x", "y"})}, None) == {"x", "y"}
    assert common({"A": frozenset({"x", "y"}), "B": frozenset({"y", "z"})}, frozenset({"y", "q"})) == {"y"}
    assert common({"A": frozenset({"x"})}, frozenset({"q"})) == frozenset()


_TO = "  - pii: {{request: {{US_SSN: {{route: {}}}}}}}\n"


@pytest.mark.parametrize(
    ("chain", "place", "said"),
    [
        (_TO.format("lokal") + "  - routing: {}\n", "request.US_SSN.route", "did you mean 'local'?"),
        (_TO.format("spare") + "  - routing: {}\n", "request.US_SSN.route", "no model has a pool at 'spare'"),
        ("  - routing: {}\n" + _TO.format("local"), "request.US_SSN.route", "put the filter routing behind"),
        ("  - pii: {request: {route: local}}\n", "request.route", "put the filter routing behind"),
        ("  - pii: {response: {US_SSN: {route: local}}}\n  - routing: {}\n", "response.US_SSN", "an answer has come already"),
    ],
)
def test_a_route_that_cannot_be_followed_is_a_problem(tmp_path: Path, chain: str, place: str, said: str) -> None:
    with pytest.raises(PolicyErrors) as caught:
        _pools(tmp_path, chain)
    assert any(place in problem and said in problem for problem in map(str, caught.value.problems))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ("request: shred", "'shred' is none of replace, redact, mask, hash, block, report, off"),
        ("request: {URL: shred}", "request.URL: 'shred' is none of replace"),
        ("request: [replace]", "or entities with one of them each"),
        ("request: {URL: 4}", "must be one of replace, redact"),
        ("request: {mask: 99}", "must be at most 32"),
        ("request: {url: redact}", "is not a name in capitals"),
        ("request: {}", "must not be empty"),
    ],
)
def test_an_action_of_the_wrong_kind_is_a_problem_that_says_what_is_right(tmp_path: Path, settings: str, said: str) -> None:
    with pytest.raises(PolicyErrors) as caught:
        policy(tmp_path, settings)
    assert said in "\n".join(map(str, caught.value.problems))


def test_every_action_has_its_word() -> None:
    treatment = Treatment({"A1": Mask(mask=2), "B1": Route(route=("x", "y"))}, "replace")
    assert [treatment.word(entity) for entity in ("A1", "B1", "C1")] == ["mask", "route", "replace"]
    assert treatment.places(["A1", "B1"]) == {"B1": {"x", "y"}}
