"""Where texts of requests stand: what is declared, what nobody declared, what stands encoded, what is not looked at."""

import json
from base64 import b64decode, b64encode, urlsafe_b64encode
from pathlib import Path
from typing import Any

import pytest

from headrace.ext_proc.core.effects import Record
from headrace.ext_proc.core.endpoint import Endpoint
from headrace.ext_proc.engine.policy.compile import Policy
from headrace.filters.pii.encoded import is_readable, opened
from headrace.filters.pii.paths import RULES
from headrace.filters.pii.strings import collect

from .driver import Talk, policy, user

EMAIL = "jane.doe@example.com"


@pytest.fixture(scope="module")
def redacting(tmp_path_factory: pytest.TempPathFactory) -> Policy:
    return policy(tmp_path_factory.mktemp("redacting"), "request: redact")


def _note(talk: Talk) -> dict[str, Any]:
    (record,) = [effect for effect in talk.close() if isinstance(effect, Record) and effect.kind == "decision"]
    return dict(next(step["note"] for step in record.members["steps"] if step["filter"] == "pii"))


# What the APIs define, each with every member that may hold text; a member that is missing in `paths` fails here.
_SCHEMA = {
    "type": "object",
    "properties": {"type": {"type": "string", "description": "a"}, "to": {"anyOf": [{"$ref": "#/$defs/x"}, {"enum": ["b"]}]}},
    "$defs": {"x": {"type": "string", "title": "c", "default": "d", "pattern": "^e$"}},
    "required": ["to"],
}
_FUNCTION = {"name": "send", "description": "sends", "parameters": _SCHEMA, "strict": True}
_GRAMMAR = {"type": "grammar", "grammar": {"definition": "a"}}
_CALLS = [
    {"id": "call_1", "type": "function", "function": {"name": "send", "arguments": '{"a": 1}'}},
    {"id": "call_2", "type": "custom", "custom": {"name": "write", "input": "text"}},
]
_THOUGHT = {"type": "thinking", "thinking": "hm", "signature": "c2lnbmF0dXJl/////w=="}
_REASONED = {"type": "reasoning.text", "id": "rs_1", "format": "anthropic-claude-v1", "index": 0, "text": "hm", "summary": "so"}
CHAT: dict[str, Any] = {
    "model": "m",
    "messages": [
        {"role": "developer", "name": "boss", "content": "x"},
        {"role": "user", "content": [{"type": "text", "text": "x"}, {"type": "refusal", "refusal": "y"}]},
        {"role": "user", "content": [{"type": "file", "file": {"filename": "a.txt", "file_id": "file-1"}}]},
        {"role": "assistant", "content": None, "refusal": "no", "reasoning_content": "hm", "tool_calls": _CALLS},
        {"role": "assistant", "audio": {"id": "audio_1"}, "function_call": {"name": "f", "arguments": "{}"}},
        {"role": "tool", "tool_call_id": "call_1", "content": [{"type": "text", "text": "sent"}]},
        {"role": "assistant", "content": "x", "reasoning_details": [_REASONED], "thinking_blocks": [_THOUGHT]},
    ],
    "tools": [
        {"type": "function", "function": _FUNCTION},
        {"type": "custom", "custom": {"name": "w", "description": "x", "format": _GRAMMAR}},
    ],
    "tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [{"type": "function"}]}},
    "response_format": {"type": "json_schema", "json_schema": {"name": "n", "description": "d", "schema": _SCHEMA}},
    "prediction": {"type": "content", "content": [{"type": "text", "text": "x"}]},
    "web_search_options": {"user_location": {"type": "approximate", "approximate": {"city": "Berlin"}}},
    "metadata": {"mine": "x"},
    "user": "u", "stop": ["a", "b"], "safety_identifier": "s", "prompt_cache_key": "k", "stream_options": {"include_usage": True},
}  # fmt: skip
RESPONSES: dict[str, Any] = {
    "model": "m",
    "instructions": "be kind",
    "input": [
        {
            "role": "user",
            "content": [{"type": "input_text", "text": "x"}, {"type": "input_file", "filename": "f", "file_id": "f-1"}],
        },
        {
            "type": "message",
            "role": "assistant",
            "id": "msg_1",
            "status": "completed",
            "content": [{"type": "refusal", "refusal": "n"}],
        },
        {"type": "function_call", "id": "fc_1", "call_id": "c", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c", "output": [{"type": "input_text", "text": "x"}]},
        {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "x"}], "content": [{"text": "y"}]},
        {"type": "web_search_call", "id": "ws_1", "action": {"type": "search", "query": "q"}},
        {"type": "custom_tool_call", "call_id": "c", "name": "f", "input": "text"},
    ],
    "tools": [{"type": "function", **_FUNCTION}, {"type": "mcp", "server_label": "l", "server_url": "https://example.org/"}],
    "text": {"format": {"type": "json_schema", "name": "n", "description": "d", "schema": _SCHEMA}},
    "reasoning": {"effort": "low", "summary": "auto"},
    "prompt": {"id": "pmpt_1", "version": "2", "variables": {"city": "Berlin", "file": {"type": "input_text", "text": "x"}}},
    "previous_response_id": "resp_1",
    "conversation": "conv_1",
    "metadata": {"mine": "x"},
}
MESSAGES: dict[str, Any] = {
    "model": "m",
    "system": [{"type": "text", "text": "x", "cache_control": {"type": "ephemeral", "ttl": "5m"}}],
    "messages": [
        {"role": "assistant", "content": [_THOUGHT]},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"mine": ["x"]}}]},
        {
            "role": "user",
            "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": [{"type": "text", "text": "x"}]}],
        },
        {
            "role": "user",
            "content": [
                {
                    "type": "document",
                    "title": "t",
                    "context": "c",
                    "source": {"type": "text", "media_type": "text/plain", "data": "x"},
                },
                {"type": "document", "source": {"type": "content", "content": [{"type": "text", "text": "x"}]}},
                {
                    "type": "search_result",
                    "source": "https://example.org",
                    "title": "t",
                    "content": [{"type": "text", "text": "x"}],
                },
            ],
        },
    ],
    "tools": [{"name": "f", "description": "d", "input_schema": _SCHEMA}],
    "tool_choice": {"type": "tool", "name": "f"},
    "metadata": {"user_id": "u"},
    "stop_sequences": ["a"],
}


@pytest.mark.parametrize(
    ("endpoint", "body"), [(Endpoint.CHAT, CHAT), (Endpoint.RESPONSES, RESPONSES), (Endpoint.MESSAGES, MESSAGES)]
)
def test_every_text_the_api_defines_is_declared(endpoint: Endpoint, body: dict[str, Any]) -> None:
    assert collect(body, RULES[endpoint]).undeclared == []


def _marked(value: Any, path: str = "") -> Any:
    """A copy with an address in every string that is free text: those of several letters are left to the protocol, what a
    provider signed is left alone."""
    if isinstance(value, dict):
        signed = "thinking" if value.get("signature") else ""
        return {key: item if key == signed else _marked(item, key) for key, item in value.items()}
    if isinstance(value, list):
        return [_marked(item, path) for item in value]
    return f"{value} {EMAIL}" if isinstance(value, str) and path not in _SPARED else value


_SPARED = ("arguments", "signature", "data_b64", "model")


@pytest.mark.parametrize(
    ("path", "body"), [("/v1/chat/completions", CHAT), ("/v1/responses", RESPONSES), ("/v1/messages", MESSAGES | {"max_tokens": 5})]
)
def test_no_member_of_any_api_lets_a_value_through(redacting: Policy, path: str, body: dict[str, Any]) -> None:
    sent = json.dumps(Talk(redacting, path).sent(_marked(body)))
    assert EMAIL not in sent and "example.com" not in sent
    assert sent.count("<EMAIL_ADDRESS>") == json.dumps(_marked(body)).count(EMAIL)


def test_text_that_nobody_declared_is_searched_and_told(redacting: Policy) -> None:
    talk = Talk(redacting)
    sent = talk.sent(user("hi", x={"deep": [{"er": EMAIL}], "n": 3}, extra="word") | {"user": {"id": EMAIL}})
    assert EMAIL not in json.dumps(sent)
    assert _note(talk)["undeclared"] == ["x.deep[0].er", "extra", "user.id"]


def test_text_that_nobody_declared_is_refused_where_the_policy_says_so(tmp_path: Path) -> None:
    used = policy(tmp_path, "unknown: refuse")
    refusal = Talk(used).refused(user("hi", x={"deep": EMAIL}))
    assert (refusal.status, refusal.reason) == (400, "pii.undeclared")
    assert b"x.deep" in refusal.body and EMAIL.encode() not in refusal.body
    Talk(used).sent(user("hi", x={"n": 3, "b": True, "none": None}))


# --- what stands encoded -------------------------------------------------------------------------------------------------------

TEXT = f"Name: Jänе\nMail: {EMAIL}\n"


def _b64(text: str) -> str:
    return b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    "url",
    [
        f"data:text/plain;base64,{_b64(TEXT)}",
        f"data:text/csv;charset=utf-8;base64,{_b64(TEXT).rstrip('=')}",
        f"DATA:;BASE64,{urlsafe_b64encode(TEXT.encode()).decode()}",
        f"data:application/json;base64,{_b64(json.dumps({'to': EMAIL}))}",
        f"data:image/svg+xml;base64,{_b64(f'<svg><text>{EMAIL}</text></svg>')}",
        f"data:image/png;base64,{_b64(TEXT)}",
        _b64(TEXT),
        f"data:text/plain,Mail%3A%20{EMAIL.replace('@', '%40')}",
    ],
)
def test_text_of_a_file_is_searched_decoded_and_written_anew(redacting: Policy, url: str) -> None:
    sent = Talk(redacting).sent(user([{"type": "file", "file": {"file_data": url, "filename": "a.txt"}}]))
    data = sent["messages"][0]["content"][0]["file"]["file_data"]
    read = opened(data)
    assert read is not None and EMAIL not in read.text and "<EMAIL_ADDRESS>" in read.text
    assert data.split(",")[0] == url.split(",")[0] or "," not in url


PDF = b64encode(b"%PDF-1.7\n" + b"a line of text\n" * 400 + bytes(range(256)) * 3).decode()
PNG = b64encode(b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 4).decode()


HEADS = [
    "",
    ";name=my%20file.txt",
    ';charset="utf-8"',
    ";filename=a,b.txt",
    ';filename="a;base64.txt"',
    "; x",
    ";header=present;charset=utf-8",
]


@pytest.mark.parametrize("blanks", ["", " "])
@pytest.mark.parametrize("head", HEADS)
def test_a_data_url_may_have_any_parameters(redacting: Policy, head: str, blanks: str) -> None:
    url = f"{blanks}data:text/plain{head};{blanks}base64{blanks},{blanks}"
    long = f"{'lorem ipsum dolor sit amet ' * 400}{TEXT}"
    sent = Talk(redacting).sent(user([{"type": "file", "file": {"file_data": f"{url}{_b64(long)}", "filename": "a.txt"}}]))
    data = sent["messages"][0]["content"][0]["file"]["file_data"]
    assert data.startswith(url)
    assert b64decode(data.removeprefix(url)).decode() == long.replace(EMAIL, "<EMAIL_ADDRESS>")


@pytest.mark.parametrize("head", ["", "data:text/plain;base64,", "data:text/plain;name=a b;base64,"])
def test_what_stands_behind_the_base64_of_a_text_is_searched(redacting: Policy, head: str) -> None:
    url = f"{head}{_b64('lorem ipsum dolor sit ' * 400)}! mail {EMAIL}"
    sent = Talk(redacting).sent(user([{"type": "file", "file": {"file_data": url}}]))
    assert EMAIL not in json.dumps(sent)


def test_parameters_of_a_data_url_are_searched(redacting: Policy) -> None:
    files = [
        f"data:text/plain;name={EMAIL};base64,{_b64('no')}",
        f"data:image/png;name={EMAIL};base64,{PNG[:400]}",
        f"data:,{EMAIL};base64,{_b64('n')}",
    ]
    sent = Talk(redacting).sent(user([{"type": "file", "file": {"file_data": each}} for each in files]))
    for each, written in zip(files, sent["messages"][0]["content"], strict=True):
        data = written["file"]["file_data"]
        assert EMAIL not in data and "<EMAIL_ADDRESS>" in data and data.endswith(each.partition(EMAIL)[2])


def test_an_anthropic_document_is_read_as_its_source_says(redacting: Policy) -> None:
    def source(**members: str) -> dict[str, Any]:
        return {"type": "document", "source": members}

    blocks = [
        source(type="base64", media_type="text/plain", data=_b64(TEXT)),
        source(type="text", media_type="text/plain", data="4111111111111111"),
    ]
    body = {"model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": blocks}]}
    encoded, plain = Talk(redacting, "/v1/messages").sent(body)["messages"][0]["content"]
    read = opened(encoded["source"]["data"])
    assert read is not None and "<EMAIL_ADDRESS>" in read.text
    assert plain["source"]["data"] == "<CREDIT_CARD>"


def test_what_is_not_looked_at_is_named_and_left_alone(redacting: Policy) -> None:
    parts = [
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}},
        {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}},
        {"type": "input_audio", "input_audio": {"data": PNG, "format": "wav"}},
        {"type": "file", "file": {"file_data": f"data:application/pdf;base64,{PDF}"}},
        {"type": "file", "file": {"file_id": "file-1"}},
    ]
    talk = Talk(redacting)
    body = user(parts)
    assert talk.sent(body) == body
    assert _note(talk)["unread"] == {"image_url.url": 2, "input_audio.data": 1, "file.file_data": 1, "file.file_id": 1}


def test_a_number_is_not_hidden_by_being_base64_as_well(redacting: Policy) -> None:
    parts = [{"type": "input_audio", "input_audio": {"data": "4111111111111111", "format": "wav"}}]
    assert "4111111111111111" not in json.dumps(Talk(redacting).sent(user(parts)))


@pytest.mark.parametrize(
    ("value", "text"),
    [("", ""), ("YQ", "a"), ("YQ==", "a"), ("data:,a%20b", "a b"), ("not base64!", ""), ("/////w", ""), ("AAAA", "")],
)
def test_what_is_text_is_decoded_and_what_is_not_is_told_apart(value: str, text: str) -> None:
    read = opened(value)
    assert (read.text if read else "") == text
    assert is_readable(value) == bool(text)
    assert read is None or opened(read.closed("ü x")) == read._replace(text="ü x")


CARD = "4111111111111111"
HIDDEN = b64encode(b"jane.doe@example.com").decode().rstrip("=")  # letters and digits, like an id


@pytest.mark.parametrize("name", ["temperature", "seed", "top_p", "logprobs", "parallel_tool_calls"])
@pytest.mark.parametrize("value", [EMAIL, CARD, HIDDEN])
def test_a_string_where_a_number_belongs_is_text(redacting: Policy, name: str, value: str) -> None:
    assert value not in json.dumps(Talk(redacting).sent({**user("Hello."), name: value}))


@pytest.mark.parametrize("name", ["model", "service_tier", "reasoning_effort"])
def test_a_word_that_is_base64_of_text_is_text(redacting: Policy, name: str) -> None:
    assert HIDDEN not in json.dumps(Talk(redacting).sent({**user("Hello."), name: HIDDEN}))


@pytest.mark.parametrize(
    "word", ["gpt-4o-mini-2024-07-18", "call_jmfcTYk0oXqg2yKXYJlrPSDm", "toolu_01A09q90qw90lq917835lq9", "a" * 256]
)
def test_words_of_the_protocol_stay_what_they_are(redacting: Policy, word: str) -> None:
    body = {**user("Hello."), "model": word}
    body["messages"].append({"role": "tool", "tool_call_id": word, "content": "done"})
    assert Talk(redacting).sent(body) == body
