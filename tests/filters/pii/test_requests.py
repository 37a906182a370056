"""What leaves towards the model, and what is refused."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, TypeVarTuple

import pytest

from headrace.ext_proc.core.effects import Record
from headrace.ext_proc.core.endpoint import Endpoint
from headrace.ext_proc.core.events import Proceed
from headrace.ext_proc.core.headers import Headers
from headrace.ext_proc.core.principal import PRINCIPAL, Principal
from headrace.ext_proc.core.request import Request
from headrace.ext_proc.core.verdict import Continue
from headrace.ext_proc.engine.policy.compile import Policy
from headrace.filters.pii import PiiSettings
from headrace.filters.pii.paths import RULES
from headrace.filters.pii.plan import Plan, detector_for
from headrace.filters.pii.scan import LARGE, Searcher
from headrace.filters.pii.session import Equipment, PiiSession
from headrace.filters.pii.treatment import Treatment

from .driver import Talk, policy, user

Result = TypeVar("Result")
Args = TypeVarTuple("Args")

EMAIL = "jane.doe@example.com"
CALL = "call_4111111111111111"
TOKEN = re.compile(r"<([A-Z_]+)_[a-z2-7]{8}>")


@pytest.fixture(scope="module")
def replacing(tmp_path_factory: pytest.TempPathFactory) -> Policy:
    return policy(tmp_path_factory.mktemp("replacing"))


def _note(talk: Talk) -> dict[str, Any]:
    (record,) = [effect for effect in talk.close() if isinstance(effect, Record) and effect.kind == "decision"]
    (step,) = [step for step in record.members["steps"] if step["filter"] == "pii"]
    return dict(step["note"])


def test_a_value_is_replaced_by_the_same_placeholder_wherever_it_stands(replacing: Policy) -> None:
    body = {
        "model": "m",
        "user": EMAIL,
        "metadata": {"owner": EMAIL, "phone": 14155552671},
        "messages": [
            {"role": "system", "content": f"You write for {EMAIL}."},
            {"role": "user", "name": EMAIL, "content": [{"type": "text", "text": f"hello, {EMAIL}"}]},
            {"role": "tool", "tool_call_id": "call_1", "content": f'{{"to": "{EMAIL}"}}'},
        ],
    }
    talk = Talk(replacing)
    sent = talk.sent(body)
    token = sent["user"]
    assert TOKEN.fullmatch(token)
    assert EMAIL not in json.dumps(sent)
    assert json.dumps(sent).count(token) == 6
    assert sent["metadata"]["phone"].startswith("<PHONE_NUMBER_")
    note = _note(talk)
    assert note["findings"]["EMAIL_ADDRESS"] == 6
    assert "messages[1].content[0].text" in note["paths"]
    assert EMAIL not in json.dumps(note)


def test_the_placeholder_is_the_same_in_the_next_turn(replacing: Policy) -> None:
    assert Talk(replacing).sent(user(EMAIL)) == Talk(replacing).sent(user(EMAIL))


async def test_another_organisation_has_another_placeholder_for_the_same_value() -> None:
    sent = set()
    for organisation in ("acme", "other", "acme"):
        headers = Headers([(":method", "POST"), (":path", "/v1/chat/completions")])
        request = Request("e1", headers, Endpoint.CHAT)
        request.facts.add({PRINCIPAL: Principal(organisation)})
        request.load(b"{}", user(EMAIL))
        detector = detector_for(Plan((("EMAIL_ADDRESS", 0.4),)))
        searcher = Searcher(detector, Treatment("replace", "replace"))
        equipment = Equipment(PiiSettings.model_validate({}), searcher, searcher, Counted(), b"secret" * 6)
        verdict = await PiiSession(equipment, Endpoint.CHAT, watches_answer=False).on_request(request)
        assert isinstance(verdict, Continue)
        sent.add(verdict.edits.members[0].value)
    assert len(sent) == 2


def test_a_clean_request_is_not_touched_and_the_answer_is_not_needed(replacing: Policy) -> None:
    answer = Talk(replacing).ask(user("hello", temperature=0.5))
    assert isinstance(answer, Proceed)
    assert answer.body is None and answer.last


def test_members_without_a_finding_keep_their_bytes(replacing: Policy) -> None:
    raw = b'{ "model" : "m", "seed": 1e2, "messages":[{"role":"user","content":"caf\\u00e9"},{"role": "user","content":"a@b.com"}]}'
    answer = Talk(replacing).ask(raw)
    assert isinstance(answer, Proceed) and answer.body is not None
    assert b'{"role":"user","content":"caf\\u00e9"}' in answer.body and b'"seed":1e2' in answer.body
    assert b"a@b.com" not in answer.body


def test_protocol_words_that_look_like_findings_are_left_alone(replacing: Policy) -> None:
    body = user("hi", tools=[{"type": "function", "function": {"name": "lookup", "parameters": {"type": "object"}}}])
    body["model"] = "gpt-4.1-2025-04-14"
    body["messages"] += [
        {"role": "assistant", "tool_calls": [{"id": CALL, "type": "function", "function": {"name": "x", "arguments": "{}"}}]},
        {"role": "tool", "tool_call_id": CALL, "content": "ok"},
    ]
    assert Talk(replacing).sent(body) == body


def test_a_protocol_member_that_holds_no_word_is_searched(replacing: Policy) -> None:
    body = user("hi")
    body["messages"][0]["role"] = f"user {EMAIL}"
    body["tool_choice"] = {"type": {"nested": EMAIL}}
    assert EMAIL not in json.dumps(Talk(replacing).sent(body))


@pytest.mark.parametrize("place", ["unknown_member", "prompt_cache_key", "safety_identifier", "web_search_options"])
def test_a_member_nobody_declared_is_searched(replacing: Policy, place: str) -> None:
    assert EMAIL not in json.dumps(Talk(replacing).sent(user("hi", **{place: [{"deep": {"deeper": EMAIL}}]})))


# --- JSON inside JSON -------------------------------------------------------------------------------------------------------------


def _with_arguments(arguments: str) -> dict[str, Any]:
    call = {"id": "call_1", "type": "function", "function": {"name": "send", "arguments": arguments}}
    return {"model": "m", "messages": [{"role": "assistant", "content": None, "tool_calls": [call]}]}


def _arguments(sent: Any) -> str:
    return str(sent["messages"][0]["tool_calls"][0]["function"]["arguments"])


def test_tool_arguments_are_searched_decoded_and_stay_valid_json(replacing: Policy) -> None:
    written = '{"to" : "jane\\u0040example.com", "n":1.50, "card": 4111111111111111, "nested": ["\\"a@b.com\\""]}'
    arguments = _arguments(Talk(replacing).sent(_with_arguments(written)))
    parsed = json.loads(arguments)
    assert TOKEN.fullmatch(parsed["to"]) and TOKEN.fullmatch(parsed["card"])
    assert re.fullmatch(rf'"{TOKEN.pattern}"', parsed["nested"][0])
    assert '"n":1.50' in arguments
    assert "example" not in arguments and "4111" not in arguments


@pytest.mark.parametrize(
    "written",
    [
        '{"to": "jane\\u0040example.com"',
        '{"to": "x", "to": "jane\\u0040example.com"}',
        "not json but jane\\u0040example.com and a@b.com",
        '"jane\\u0040example.com"',
        '{"a": "\\ud800", "to": "jane\\u0040example.com"}',
    ],
)
def test_arguments_that_only_a_lenient_reader_reads_hide_nothing(replacing: Policy, written: str) -> None:
    arguments = _arguments(Talk(replacing).sent(_with_arguments(written)))
    assert "jane" not in arguments and "example" not in arguments


def test_scalar_arguments_are_searched_too(replacing: Policy) -> None:
    assert _arguments(Talk(replacing).sent(_with_arguments("4111111111111111"))).startswith('"<CREDIT_CARD_')


def test_arguments_without_a_finding_are_not_touched(replacing: Policy) -> None:
    body = _with_arguments('{ "city" : "K\\u00f6ln" }')
    assert Talk(replacing).sent(body) == body


# --- what cannot be replaced ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        user("hi", metadata={EMAIL: "x"}),
        user("hi", x={"y": [{EMAIL: 1}]}),
        user("hi", logit_bias={EMAIL: 1}),
        user("hi", prompt_cache_options={EMAIL: 1}),
        _with_arguments(json.dumps({EMAIL: 1})),
    ],
)
def test_personal_data_in_the_name_of_a_member_is_refused(replacing: Policy, body: dict[str, Any]) -> None:
    refusal = Talk(replacing).refused(body)
    assert (refusal.status, refusal.reason) == (400, "pii.in_name")
    assert EMAIL.encode() not in refusal.body


def test_ids_of_tokens_are_names_and_longer_numbers_are_searched(replacing: Policy) -> None:
    biased = user("hi", logit_bias={"50256": -100, "198": 1, "201087": 1})
    assert Talk(replacing).sent(biased) == biased
    assert Talk(replacing).refused(user("hi", logit_bias={"4111111111111111": 1})).reason == "pii.in_name"


@pytest.mark.parametrize(("path", "members"), [("/v1/embeddings", {"input": [1, 2]}), ("/v1/completions", {"prompt": [[1]]})])
def test_a_prompt_of_token_ids_is_refused_because_nobody_can_search_it(
    replacing: Policy, path: str, members: dict[str, Any]
) -> None:
    refusal = Talk(replacing, path).refused({"model": "m", **members})
    assert (refusal.status, refusal.reason) == (400, "pii.unreadable")


def test_half_of_a_surrogate_pair_beside_a_finding_is_refused(replacing: Policy) -> None:
    raw = b'{"model":"m","messages":[{"role":"user","content":"\\ud800 a@b.com"}]}'
    refusal = Talk(replacing).refused(raw)
    assert refusal.status == 400
    assert b"a@b.com" not in refusal.body


def test_blocking_names_entities_and_places_and_never_a_value(tmp_path: Path) -> None:
    talk = Talk(policy(tmp_path, "request: block"))
    refusal = talk.refused(user([{"type": "text", "text": f"mail {EMAIL}"}], metadata={"a4111": "4111 1111 1111 1111"}))
    error = json.loads(refusal.body)["error"]
    assert (refusal.status, error["code"]) == (400, "pii.blocked")
    assert "EMAIL_ADDRESS" in error["message"] and "messages[0].content[0].text" in error["message"]
    assert "CREDIT_CARD" in error["message"] and "metadata.*" in error["message"]
    assert EMAIL not in error["message"] and "4111" not in error["message"]
    assert EMAIL not in json.dumps(_note(talk))


def test_redacting_and_masking_leave_nothing_to_restore(tmp_path: Path) -> None:
    for action, expected in (("redact", "mail <EMAIL_ADDRESS>!"), ("mask", f"mail {'*' * len(EMAIL)}!")):
        answer = Talk(policy(tmp_path, f"request: {action}")).ask(user(f"mail {EMAIL}!"))
        assert isinstance(answer, Proceed) and answer.body is not None and answer.last
        assert json.loads(answer.body)["messages"][0]["content"] == expected


def test_report_changes_nothing_and_records(tmp_path: Path) -> None:
    talk = Talk(policy(tmp_path, "request: report"))
    answer = talk.ask(user(EMAIL))
    assert isinstance(answer, Proceed) and answer.body is None and answer.last
    assert _note(talk)["findings"] == {"EMAIL_ADDRESS": 1}


def test_shadow_mode_changes_nothing_and_records(tmp_path: Path) -> None:
    talk = Talk(policy(tmp_path, "mode: shadow"))
    answer = talk.ask(user(EMAIL))
    assert isinstance(answer, Proceed) and answer.body is None
    assert _note(talk)["findings"] == {"EMAIL_ADDRESS": 1}


# --- images, links, other APIs ----------------------------------------------------------------------------------------------------


def test_an_image_is_left_alone_and_counted_and_its_url_is_searched(replacing: Policy) -> None:
    pixels = "data:image/png;base64," + "A9B" * 30 + "=="
    urls = (pixels, "https://example.com/a.png", f"https://example.com/?m={EMAIL}")
    parts = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
    talk = Talk(replacing)
    sent = talk.sent(user(parts))["messages"][0]["content"]
    assert [part["image_url"]["url"] for part in sent[:2]] == [pixels, "https://example.com/a.png"]
    assert EMAIL not in sent[2]["image_url"]["url"]
    assert _note(talk)["unread"] == {"image_url.url": 3}


def test_text_is_not_hidden_by_calling_it_an_image(replacing: Policy) -> None:
    image = {"type": "image_url", "image_url": {"url": f"data:text/plain,{EMAIL}"}}
    parts = [image, {"type": "input_audio", "input_audio": {"data": EMAIL}}]
    assert EMAIL not in json.dumps(Talk(replacing).sent(user(parts)))


_TOOL_USE = {"type": "tool_use", "id": "toolu_1", "name": "send", "input": {"to": EMAIL, "card": 4111111111111111}}
_TOOL_RESULT = {"type": "tool_result", "tool_use_id": "toolu_1", "content": [{"type": "text", "text": EMAIL}]}
_DOCUMENT = {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": f"I am {EMAIL}"}}
ANTHROPIC: dict[str, Any] = {
    "model": "m",
    "max_tokens": 10,
    "system": [{"type": "text", "text": f"for {EMAIL}"}],
    "messages": [
        {"role": "assistant", "content": [_TOOL_USE]},
        {"role": "user", "content": [_TOOL_RESULT, _DOCUMENT]},
    ],
    "metadata": {"user_id": EMAIL},
}
RESPONSES: dict[str, Any] = {
    "model": "m",
    "instructions": f"for {EMAIL}",
    "input": [
        {"role": "user", "content": [{"type": "input_text", "text": EMAIL}]},
        {"type": "function_call", "call_id": "call_1", "name": "send", "arguments": json.dumps({"to": EMAIL})},
        {"type": "function_call_output", "call_id": "call_1", "output": f"sent to {EMAIL}"},
    ],
}


@pytest.mark.parametrize(
    ("path", "body", "places"),
    [
        ("/v1/messages", ANTHROPIC, 5),
        ("/v1/responses", RESPONSES, 4),
        ("/v1/responses", {"model": "m", "input": EMAIL}, 1),
        ("/v1/completions", {"model": "m", "prompt": [EMAIL, "x"], "suffix": EMAIL}, 2),
        ("/v1/embeddings", {"model": "m", "input": [EMAIL, EMAIL]}, 2),
    ],
)
def test_every_api_is_searched_where_its_texts_are(replacing: Policy, path: str, body: dict[str, Any], places: int) -> None:
    sent = json.dumps(Talk(replacing, path).sent(body))
    assert EMAIL not in sent and "4111111111111111" not in sent
    assert len(re.findall("<EMAIL_ADDRESS_", sent)) == places


class Counted:
    """An offload that counts its jobs."""

    def __init__(self) -> None:
        self.jobs = 0

    async def run(self, fn: Callable[[*Args], Result], *args: *Args) -> Result:
        self.jobs += 1
        return fn(*args)


async def test_a_large_prompt_is_searched_off_the_event_loop_and_one_that_is_remembered_is_not() -> None:
    offload, searcher = Counted(), Searcher(detector_for(Plan((("EMAIL_ADDRESS", 0.4),))), Treatment("replace", "replace"))
    large = user("The committee met and agreed that more seating was needed. " * 400 + EMAIL)
    for jobs in (1, 1):
        result = await searcher.scan(large, RULES[Endpoint.CHAT], offload)
        assert (offload.jobs, result.counts) == (jobs, {"EMAIL_ADDRESS": 1})
    await searcher.scan(user("small"), RULES[Endpoint.CHAT], offload)
    assert offload.jobs == 1


async def test_the_texts_of_a_large_body_are_gathered_off_the_event_loop() -> None:
    offload, searcher = Counted(), Searcher(detector_for(Plan((("EMAIL_ADDRESS", 0.4),))), Treatment("replace", "replace"))
    for size, jobs in ((LARGE, 0), (LARGE + 1, 1)):
        found = await searcher.scan({"metadata": {"x": ["a", EMAIL]}}, RULES[Endpoint.CHAT], offload, size=size)
        assert (offload.jobs, found.counts) == (jobs, {"EMAIL_ADDRESS": 1})


def test_quotes_around_a_finding_stay_so_that_json_in_a_text_stays_json(replacing: Policy) -> None:
    content = Talk(replacing).sent(user('{"url": "https://example.com/x"}'))["messages"][0]["content"]
    assert re.fullmatch("<URL_.*>", json.loads(content)["url"])


def test_the_dialect_of_a_schema_is_left_alone(replacing: Policy) -> None:
    schema = {"$schema": "http://json-schema.org/draft-07/schema#", "properties": {"mail": {"description": "such as a@b.com"}}}
    body = user("hi", tools=[{"type": "function", "function": {"name": "send", "parameters": schema}}])
    sent = Talk(replacing).sent(body)["tools"][0]["function"]["parameters"]
    assert sent["$schema"] == schema["$schema"]
    assert "a@b.com" not in json.dumps(sent)
