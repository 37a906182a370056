"""Between OpenAI's and Anthropic's chats: what a request asks for, an answer says and a stream adds up to stays the same."""

import json
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.ext_proc.core.endpoint import Dialect, Endpoint
from headrace.ext_proc.core.errors import ProtocolError
from headrace.ext_proc.core.sse import SseEvent, SseParser
from headrace.ext_proc.core.usage import Usage, UsageMeter, usage_in
from headrace.ext_proc.engine.translate import TO_ANTHROPIC, TO_OPENAI, Translator, Untranslatable, translator_for
from headrace.ext_proc.engine.translate.calls import MAX_HELD, Calls
from headrace.ext_proc.engine.translate.streams import Stream

SCHEMA = {"type": "object", "properties": {}}
TOOL: dict[str, Any] = {"type": "function", "function": {"name": "look", "description": "Looks.", "parameters": SCHEMA}}
CHAT: dict[str, Any] = {
    "model": "m",
    "max_tokens": 7,
    "temperature": 1.5,
    "stop": "END",
    "user": "ann",
    "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "What is it?"},
                                     {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]},
        {"role": "assistant", "content": None,
         "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "look", "arguments": '{"at": "it"}'}}]},
        {"role": "tool", "tool_call_id": "c1", "content": "a cat"},
        {"role": "user", "content": "Sure?"},
    ],
    "tools": [TOOL],
    "tool_choice": "required",
    "parallel_tool_calls": False,
}  # fmt: skip
MESSAGES: dict[str, Any] = {
    "model": "m",
    "max_tokens": 7,
    "temperature": 1.0,
    "stop_sequences": ["END"],
    "metadata": {"user_id": "ann"},
    "system": "Be brief.",
    "messages": [
        {"role": "user", "content": [{"type": "text", "text": "What is it?"},
                                     {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}}]},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "c1", "name": "look", "input": {"at": "it"}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c1", "content": "a cat"},
                                     {"type": "text", "text": "Sure?"}]},
    ],
    "tools": [{"name": "look", "description": "Looks.", "input_schema": {"type": "object", "properties": {}}}],
    "tool_choice": {"type": "any", "disable_parallel_tool_use": True},
}  # fmt: skip


def test_a_chat_in_anthropics_words() -> None:
    assert TO_ANTHROPIC.request(CHAT) == MESSAGES


def test_a_message_in_openais_words() -> None:
    there = TO_OPENAI.request(MESSAGES)
    assert there == {
        **{name: CHAT[name] for name in ("model", "user", "tools", "tool_choice", "parallel_tool_calls")},
        "messages": [
            *CHAT["messages"][:2],
            {"role": "assistant", "content": None, "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "look", "arguments": '{"at":"it"}'}}]},
            *CHAT["messages"][3:],
        ],
        "max_completion_tokens": 7,
        "temperature": 1.0,
        "stop": ["END"],
    }  # fmt: skip


def test_there_and_back_a_request_is_the_same() -> None:
    assert TO_ANTHROPIC.request(TO_OPENAI.request(MESSAGES)) == MESSAGES


IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
PICTURE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}}


def said(role: str, content: Any, **others: Any) -> dict[str, Any]:
    return {"messages": [{"role": role, "content": content, **others}]}


def called(arguments: str, **others: Any) -> dict[str, Any]:
    return said("assistant", None, tool_calls=[{"id": "c1", "function": {"name": "look", "arguments": arguments}, **others}])


def resulted(*parts: dict[str, Any], **others: Any) -> dict[str, Any]:
    return said("user", [{"type": "tool_result", "tool_use_id": "c1", "content": list(parts), **others}])


CLEARED = {"type": "clear_thinking_20251015", "keep": "all"}


@pytest.mark.parametrize(
    ("changed", "param"),
    [
        ({"n": 2}, "n"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"response_format": {"type": "json_schema", "json_schema": {"name": "x"}}}, "response_format"),
        ({"audio": {"voice": "x"}}, "audio"),
        ({"modalities": ["text", "audio"]}, "modalities"),
        ({"top_logprobs": 2}, "top_logprobs"),
        ({"functions": [{}]}, "functions"),
        ({"guided_json": {"type": "object"}}, "guided_json"),
        ({"x" * 200: 1}, "x" * 100),
        ({"tools": [{"type": "custom"}]}, "tools"),
        ({"tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": []}}}, "tool_choice"),
        ({"tool_choice": "sometimes"}, "tool_choice"),
        (said("user", [{"type": "input_audio"}]), "messages"),
        (said("user", ["words"]), "messages"),
        (said("user", [{"type": "image_url", "image_url": "https://x"}]), "messages"),
        (said("user", [{"type": "image_url", "image_url": {"url": "data:text/plain;base64,AAAA"}}]), "messages"),
        (said("system", [IMAGE]), "messages"),
        (said("assistant", None, function_call={"name": "look", "arguments": "{}"}), "messages"),
        (said("assistant", None, audio={"id": "a"}), "messages"),
        (said("function", "42", name="look"), "messages"),
        (called("[1, 2]"), "messages"),
        (called("{"), "messages"),
        (called("{}", type="custom"), "messages"),
    ],
)
def test_what_anthropic_has_not_is_refused(changed: dict[str, Any], param: str) -> None:
    assert_refused(TO_ANTHROPIC, CHAT | changed, param)


@pytest.mark.parametrize(
    ("changed", "param"),
    [
        ({"mcp_servers": [{}]}, "mcp_servers"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"context_management": {"edits": [CLEARED, {"type": "clear_tool_uses_20250919"}]}}, "context_management"),
        ({"context_management": {"edits": [CLEARED], "other": True}}, "context_management"),
        ({"inference_geo": "eu"}, "inference_geo"),
        ({"tools": [{"type": "web_search_20250305", "name": "w"}]}, "tools"),
        ({"tool_choice": {"type": "new"}}, "tool_choice"),
        ({"output_config": {"format": {"type": "grammar"}}}, "output_config"),
        ({"system": [PICTURE]}, "system"),
        (said("system", [PICTURE]), "messages"),
        (said("tool", "42"), "messages"),
        (said("user", [{"type": "document"}]), "messages"),
        (said("user", [{"type": "image", "source": {"type": "file", "file_id": "f"}}]), "messages"),
        (said("assistant", [{"type": "server_tool_use"}, {"type": "text", "text": "found"}]), "messages"),
        (resulted({"type": "document"}), "messages"),
    ],
)
def test_what_openai_has_not_is_refused(changed: dict[str, Any], param: str) -> None:
    assert_refused(TO_OPENAI, MESSAGES | changed, param)


def assert_refused(translator: Translator, document: dict[str, Any], param: str) -> None:
    with pytest.raises(Untranslatable, match="for this model") as caught:
        translator.request(document)
    assert caught.value.param == param


@pytest.mark.parametrize(
    ("translator", "document", "hints"),
    [
        (TO_ANTHROPIC, CHAT, {"seed": 1, "frequency_penalty": 1.0, "presence_penalty": 1.0, "top_k": 5, "reasoning_effort": "high",
                              "thinking": {"type": "enabled"}, "verbosity": "low", "service_tier": "flex", "store": True,
                              "prediction": {"type": "content", "content": "x"}, "prompt_cache_options": {"mode": "explicit"},
                              "metadata": {"a": "b"}, "prompt_cache_key": "k", "logprobs": False, "top_logprobs": None,
                              "logit_bias": {}, "modalities": ["text"], "response_format": {"type": "text"}, "n": 1}),
        (TO_OPENAI, MESSAGES, {"top_k": 5, "thinking": {"type": "enabled", "budget_tokens": 1024}, "service_tier": "auto",
                               "output_config": {"effort": "low"}, "cache_control": {"type": "ephemeral"}, "container": None,
                               "context_management": {"edits": [CLEARED]}, "speed": "fast",
                               "diagnostics": {"previous_message_id": "m"}}),
    ],
)  # fmt: skip
def test_hints_are_dropped(translator: Translator, document: dict[str, Any], hints: dict[str, Any]) -> None:
    assert translator.request(document | hints) == translator.request(document)


def test_a_safety_identifier_is_a_user() -> None:
    chat = {name: value for name, value in CHAT.items() if name != "user"}
    assert TO_ANTHROPIC.request(chat | {"safety_identifier": "ann"}) == MESSAGES


def test_a_strict_tool_is_strict_there() -> None:
    chat = CHAT | {"tools": [{"type": "function", "function": {**TOOL["function"], "strict": True}}]}
    messages = MESSAGES | {"tools": [{**MESSAGES["tools"][0], "strict": True}]}
    assert TO_ANTHROPIC.request(chat) == messages
    assert TO_OPENAI.request(messages)["tools"] == chat["tools"]


@pytest.mark.parametrize("choice", [{"type": "tool", "name": "look"}, {"type": "none"}, {"type": "auto"}])
def test_a_choice_of_tools_there_and_back(choice: dict[str, Any]) -> None:
    messages = MESSAGES | {"tool_choice": choice}
    assert TO_ANTHROPIC.request(TO_OPENAI.request(messages)) == messages


@pytest.mark.parametrize("name", ["output_config", "output_format"])
def test_a_schema_of_the_answer_is_one_there(name: str) -> None:
    asked = {"type": "json_schema", "schema": SCHEMA}
    there = TO_OPENAI.request(MESSAGES | {name: {"format": asked} if name == "output_config" else asked})
    expected = {"name": "answer", "schema": SCHEMA, "strict": True}
    assert there["response_format"] == {"type": "json_schema", "json_schema": expected}


def test_a_schema_of_a_chats_answer_is_one_there() -> None:
    chat = CHAT | {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "strict": True, "schema": SCHEMA}}}
    assert TO_ANTHROPIC.request(chat)["output_config"] == {"format": {"type": "json_schema", "schema": SCHEMA}}
    there = TO_ANTHROPIC.request(chat | {"reasoning_effort": "low"}, ["low"])
    assert there["output_config"] == {"format": {"type": "json_schema", "schema": SCHEMA}, "effort": "low"}


USUAL = ("low", "medium", "high")


@pytest.mark.parametrize(
    ("asked", "taken", "effort"),
    [
        ("medium", USUAL, "medium"),
        ("max", USUAL, "high"),
        ("minimal", USUAL, "low"),
        ("none", USUAL, "low"),
        ("high", ("medium", "low"), "medium"),
        ("none", ("none", "low"), "none"),
        ("minimal", ("none", "low"), "none"),
        ("low", (), None),
        ("hard", USUAL, None),
        (None, USUAL, None),
        ([], USUAL, None),
    ],
)
def test_an_effort_is_the_nearest_that_the_model_takes(asked: Any, taken: Sequence[str], effort: str | None) -> None:
    chat = TO_ANTHROPIC.request(CHAT | {"reasoning_effort": asked}, taken)
    told = {"thinking": {"type": "disabled"}} if effort == "none" else {"output_config": {"effort": effort}} if effort else {}
    assert chat == MESSAGES | told
    config = {"thinking": {"type": "disabled"}} if asked == "none" else {"output_config": {"effort": asked}}
    assert TO_OPENAI.request(MESSAGES | config, taken).get("reasoning_effort") == effort


def test_a_message_of_the_system_between_others_stays_there() -> None:
    turns = [{"role": "user", "content": "hi"}, {"role": "system", "content": [{"type": "text", "text": "Be brief."}]}]
    there = TO_OPENAI.request({"model": "m", "max_tokens": 7, "messages": turns})
    assert there["messages"] == [{"role": "user", "content": "hi"}, {"role": "system", "content": "Be brief."}]


def test_the_image_of_a_tools_result() -> None:
    there = TO_ANTHROPIC.request(CHAT | said("tool", [{"type": "text", "text": "Seen:"}, IMAGE], tool_call_id="c1"))
    result = {"type": "tool_result", "tool_use_id": "c1", "content": [{"type": "text", "text": "Seen:"}, PICTURE]}
    assert there["messages"] == [{"role": "user", "content": [result]}]
    back = TO_OPENAI.request(MESSAGES | {"messages": there["messages"]})
    assert back["messages"][1:] == [
        {"role": "tool", "tool_call_id": "c1", "content": "Seen:"},
        {"role": "user", "content": [{"type": "text", "text": "Result of c1:"}, IMAGE]},
    ]


def test_a_result_that_is_an_error_is_its_words() -> None:
    there = TO_OPENAI.request(MESSAGES | resulted({"type": "text", "text": "boom"}, is_error=True))
    assert there["messages"][1:] == [{"role": "tool", "tool_call_id": "c1", "content": "boom"}]


def test_a_call_without_arguments_has_an_empty_object() -> None:
    [turn] = TO_ANTHROPIC.request(CHAT | called(""))["messages"]
    assert turn["content"] == [{"type": "tool_use", "id": "c1", "name": "look", "input": {}}]


def test_a_refusal_of_an_earlier_answer_stays_and_thought_does_not() -> None:
    [turn] = TO_ANTHROPIC.request(CHAT | said("assistant", None, refusal="No.", reasoning_content="hm"))["messages"]
    assert turn["content"] == [{"type": "text", "text": "No."}]
    thought = {"type": "thinking", "thinking": "hm", "signature": "s"}
    there = TO_OPENAI.request(MESSAGES | said("assistant", [thought, {"type": "text", "text": "No."}]))
    assert there["messages"][1:] == [{"role": "assistant", "content": "No."}]


def test_a_turn_that_had_only_thought_is_left_out() -> None:
    thought = {"role": "assistant", "content": [{"type": "thinking", "thinking": "hm", "signature": "s"}]}
    turns = [{"role": "user", "content": "Why?"}, thought, {"role": "user", "content": "So?"}]
    there = TO_OPENAI.request(MESSAGES | {"messages": turns})
    assert there["messages"][1:] == [turns[0], turns[2]]


def test_an_image_with_a_url_there_and_back() -> None:
    messages = MESSAGES | said("user", [{"type": "image", "source": {"type": "url", "url": "https://x/y.png"}}])
    assert TO_ANTHROPIC.request(TO_OPENAI.request(messages)) == messages


def test_an_answer_with_a_tools_call_cached_tokens_and_thought() -> None:
    message: dict[str, Any] = {
        "id": "msg_1", "type": "message", "role": "assistant", "model": "claude", "stop_reason": "tool_use",
        "content": [{"type": "thinking", "thinking": "hm", "signature": "x"}, {"type": "text", "text": "So:"},
                    {"type": "tool_use", "id": "c1", "name": "look", "input": {"at": "it"}}],
        "usage": {"input_tokens": 3, "output_tokens": 5, "cache_read_input_tokens": 4, "cache_creation_input_tokens": 2},
    }  # fmt: skip
    answer = TO_ANTHROPIC.answer(message, 9)
    [choice] = answer["choices"]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["content"] == "So:"
    assert choice["message"]["reasoning_content"] == "hm"
    assert json.loads(choice["message"]["tool_calls"][0]["function"]["arguments"]) == {"at": "it"}
    counts = {"prompt_tokens": 9, "completion_tokens": 5, "total_tokens": 14}
    assert answer["usage"] == counts | {"prompt_tokens_details": {"cached_tokens": 4}, "cache_creation_input_tokens": 2}
    back = TO_OPENAI.answer(answer, 9)
    assert back["content"] == [{"type": "thinking", "thinking": "hm", "signature": ""}, *message["content"][1:]]
    assert back["stop_reason"] == "tool_use"
    assert back["usage"] == {
        "input_tokens": 5, "output_tokens": 5, "cache_read_input_tokens": 4, "cache_creation_input_tokens": 0
    }  # fmt: skip


@pytest.mark.parametrize("reason", ["max_tokens", "model_context_window_exceeded"])
def test_an_answer_without_room_for_more_is_cut_by_its_length(reason: str) -> None:
    assert TO_ANTHROPIC.answer({"stop_reason": reason}, 9)["choices"][0]["finish_reason"] == "length"


FORCED = [("stop", "tool_use"), ("tool_calls", "tool_use"), ("length", "max_tokens"), ("content_filter", "refusal")]
"""OpenAI says `stop` of a call that the request demanded:
https://community.openai.com/t/function-call-with-finish-reason-of-stop/437226
"""


@pytest.mark.parametrize(("finish", "reason"), FORCED)
def test_an_answer_with_a_call_that_was_demanded_waits_for_its_result(finish: str, reason: str) -> None:
    calls = [{"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{}"}}]
    assert TO_OPENAI.answer({"choices": [{"message": {"tool_calls": calls}, "finish_reason": finish}]}, 9)["stop_reason"] == reason
    chunks = [
        {"choices": [{"delta": {"tool_calls": [part(0, "{}", "look")]}}]},
        {"choices": [{"delta": {}, "finish_reason": finish}]},
    ]
    told = documents(through(TO_OPENAI.stream({}, 5), wire(chunks, named=False) + b"data: [DONE]\n\n"))
    assert [event["delta"]["stop_reason"] for event in told if event["type"] == "message_delta"] == [reason]


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning"])
def test_thought_has_either_of_two_names(name: str) -> None:
    """vLLM and OpenRouter say `reasoning`: https://docs.vllm.ai/en/v0.11.2/features/reasoning_outputs/"""
    [block] = TO_OPENAI.answer({"choices": [{"message": {name: "hm"}}]}, 9)["content"]
    assert block == {"type": "thinking", "thinking": "hm", "signature": ""}
    told = documents(through(TO_OPENAI.stream({}, 5), wire([{"choices": [{"delta": {name: "hm"}}]}], named=False)))
    assert told[-1]["delta"] == {"type": "thinking_delta", "thinking": "hm"}


def test_thought_that_has_both_names_is_told_once() -> None:
    both = {"reasoning_content": "hm", "reasoning": "hm"}
    assert len(TO_OPENAI.answer({"choices": [{"message": both}]}, 9)["content"]) == 1


def test_content_in_parts_is_text_in_a_stream_as_it_is_in_a_whole_answer() -> None:
    content = [{"type": "text", "text": "So"}, {"type": "text", "text": " it is"}]
    answer = TO_OPENAI.answer({"choices": [{"message": {"content": content}}]}, 9)
    assert answer["content"] == [{"type": "text", "text": "So it is"}]
    assert blocks({"content": content}) == [("text", "So it is")]


THOUGHT = {
    "prompt_tokens": 100, "completion_tokens": 200, "prompt_tokens_details": {"cached_tokens": 30},
    "completion_tokens_details": {"reasoning_tokens": 150},
}  # fmt: skip
WRITTEN = {
    "input_tokens": 10, "output_tokens": 5, "cache_read_input_tokens": 4, "cache_creation_input_tokens": 7,
    "cache_creation": {"ephemeral_1h_input_tokens": 6, "ephemeral_5m_input_tokens": 1}, "service_tier": "priority",
}  # fmt: skip
TOLD: list[tuple[Translator, dict[str, Any], Usage]] = [
    (TO_OPENAI, {"usage": THOUGHT, "service_tier": "priority"}, Usage(100, 200, 30, 150, service_tier="priority")),
    (TO_OPENAI, {"usage": {"prompt_tokens": 1, "completion_tokens": 2}}, Usage(1, 2)),
    (TO_ANTHROPIC, {"usage": WRITTEN}, Usage(21, 5, 4, 0, 7, 6, "priority")),
    (TO_ANTHROPIC, {"usage": {"input_tokens": 1, "output_tokens": 2}}, Usage(1, 2)),
]


@pytest.mark.parametrize(("translator", "said", "usage"), TOLD)
def test_a_settlement_reads_of_a_translated_answer_what_the_upstream_said(
    translator: Translator, said: dict[str, Any], usage: Usage
) -> None:
    assert usage_in(said) == usage
    assert usage_in(translator.answer(said, 5)) == usage


@pytest.mark.parametrize(("translator", "said", "usage"), TOLD)
def test_a_settlement_reads_of_a_translated_stream_what_the_upstream_said(
    translator: Translator, said: dict[str, Any], usage: Usage
) -> None:
    events: list[Any] = [{"choices": [], **said}, "[DONE]"]
    if translator is TO_ANTHROPIC:
        begun = {**said["usage"], "output_tokens": 1}
        last = {"output_tokens": said["usage"]["output_tokens"]}
        events = [{"type": "message_start", "message": {"usage": begun}}, {"type": "message_delta", "usage": last}]
        events.append({"type": "message_stop"})
    stream, meter = translator.stream({"stream_options": {"include_usage": True}}, 5), UsageMeter()
    for one in events:
        for event in stream.event(SseEvent.of(one if isinstance(one, str) else json.dumps(one))):
            meter.event(event)
    assert meter.usage == usage


@pytest.mark.parametrize(("status", "kind"), [(400, "invalid_request_error"), (429, "rate_limit_error"), (529, "overloaded_error")])
def test_errors(status: int, kind: str) -> None:
    theirs = TO_OPENAI.error({"error": {"message": "no", "type": "whatever"}}, status)
    assert theirs == {"type": "error", "error": {"type": kind, "message": "no"}}
    assert TO_ANTHROPIC.error(theirs, status)["error"]["message"] == "no"


junk = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.just("text") | st.just("tool_use"),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(["content", "choices", "delta", "usage", "message", "type", "tool_calls", "function", "error", "text",
                         "messages", "tools", "role", "system", "source", "index", "id"]), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


@pytest.mark.parametrize("translator", [TO_OPENAI, TO_ANTHROPIC])
@given(document=st.dictionaries(st.sampled_from(["messages", "tools", "choices", "content", "error", "usage"]), junk))
def test_no_document_breaks_a_translation(translator: Translator, document: dict[str, Any]) -> None:
    translator.answer(document, 0)
    translator.error(document, 500)
    stream = translator.stream(document, 0)
    for name in ("message_start", "content_block_start", "content_block_delta", "message_delta", None):
        stream.event(SseEvent.of(json.dumps(document | ({"type": name} if name else {}))))
    try:
        translator.request(document)
    except Untranslatable:
        return


WORDS = ["Hello", " there", ",\n", "é", "\u2028", ""]
ANTHROPICS = [
    {"type": "message_start", "message": {"id": "msg_1", "model": "claude", "usage": {"input_tokens": 3, "output_tokens": 1}}},
    {"type": "ping"},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    *({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": word}} for word in WORDS),
    {"type": "content_block_stop", "index": 0},
    {"type": "content_block_start", "index": 1, "content_block": {"type": "tool_use", "id": "c1", "name": "look", "input": {}}},
    *({"type": "content_block_delta", "index": 1, "delta": {"type": "input_json_delta", "partial_json": part}}
      for part in ('{"at"', ': "it"}')),
    {"type": "content_block_stop", "index": 1},
    {"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 9}},
    {"type": "message_stop"},
]  # fmt: skip


def wire(documents: Sequence[Any], *, named: bool) -> bytes:
    return b"".join(SseEvent.of(json.dumps(one), one["type"] if named else None).raw for one in documents)


def through(stream: Stream, data: bytes, cuts: Sequence[int] = ()) -> bytes:
    parser, out = SseParser(), b""
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    for start, end in pairwise(edges):
        out += b"".join(one.raw for event in parser.feed(data[start:end]) for one in stream.event(event))
    return out + b"".join(one.raw for one in stream.end())


@given(st.lists(st.integers(0, 10_000), max_size=8))
def test_a_stream_is_the_same_however_it_is_cut_in_both_directions(cuts: list[int]) -> None:
    theirs = wire(ANTHROPICS, named=True)
    whole = through(TO_ANTHROPIC.stream({"stream_options": {"include_usage": True}}, 5), theirs)
    assert through(TO_ANTHROPIC.stream({"stream_options": {"include_usage": True}}, 5), theirs, cuts) == whole
    back = through(TO_OPENAI.stream({}, 5), whole)
    assert through(TO_OPENAI.stream({}, 5), whole, cuts) == back
    assert text_and_call(documents(back)) == text_and_call(ANTHROPICS)


def documents(data: bytes) -> list[Any]:
    return [event.json for event in SseParser().feed(data)]


def text_and_call(events: Sequence[Any]) -> tuple[str, str, str, Any]:
    deltas = [event["delta"] for event in events if event["type"] == "content_block_delta"]
    ends = [event for event in events if event["type"] == "message_delta"]
    return (
        "".join(delta.get("text", "") for delta in deltas),
        "".join(delta.get("partial_json", "") for delta in deltas),
        ends[0]["delta"]["stop_reason"],
        ends[0]["usage"]["output_tokens"],
    )


def test_a_stream_in_openais_words() -> None:
    data = through(TO_ANTHROPIC.stream({"stream_options": {"include_usage": True}}, 5), wire(ANTHROPICS, named=True))
    *chunks, usage, done = SseParser().feed(data)
    assert done.is_done
    assert usage.json["usage"]["prompt_tokens"] == 3
    assert usage.json["usage"]["completion_tokens"] == 9
    deltas = [chunk.json["choices"][0]["delta"] for chunk in chunks]
    assert "".join(delta.get("content") or "" for delta in deltas) == "".join(WORDS)
    calls = [call for delta in deltas for call in delta.get("tool_calls", ())]
    assert calls[0]["function"]["name"] == "look"
    assert "".join(call["function"]["arguments"] for call in calls) == '{"at": "it"}'
    assert chunks[-1].json["choices"][0]["finish_reason"] == "tool_calls"


@pytest.mark.parametrize(
    ("given", "parts", "arguments"),
    [({}, [], "{}"), ({}, [""], "{}"), (None, [], "{}"), ({"a": 1}, [], '{"a":1}'), ({}, ["", '{"a"', ": 1}"], '{"a": 1}')],
)
def test_the_arguments_of_a_streamed_call_are_json_also_where_there_are_none(given: Any, parts: list[str], arguments: str) -> None:
    events = [
        ANTHROPICS[0],
        {
            "type": "content_block_start",
            "index": 0,
            "content_block": {"type": "tool_use", "id": "c1", "name": "look", "input": given},
        },
        *(
            {"type": "content_block_delta", "index": 0, "delta": {"type": "input_json_delta", "partial_json": part}}
            for part in parts
        ),
        {"type": "content_block_stop", "index": 0},
        {"type": "content_block_start", "index": 1, "content_block": {"type": "text", "text": "So"}},
        {"type": "content_block_stop", "index": 1},
    ]
    chunks = documents(through(TO_ANTHROPIC.stream({}, 5), wire(events, named=True)))
    calls = [call for chunk in chunks for call in chunk["choices"][0]["delta"].get("tool_calls", ())]
    assert "".join(call["function"]["arguments"] for call in calls) == arguments
    assert {call["index"] for call in calls} == {0}


def part(index: int | None, arguments: str, name: str = "") -> dict[str, Any]:
    """A part of a call in a chunk; named: its first one."""
    begun = {"id": f"id-{name}", "type": "function"} if name else {}
    return begun | {"index": index, "function": ({"name": name} if name else {}) | {"arguments": arguments}}


def blocks(*deltas: dict[str, Any]) -> list[tuple[str, str]]:
    """The blocks of a stream that consists of these deltas: what each one begins with, and what its parts add up to."""
    chunks = [{"choices": [{"index": 0, "delta": delta}]} for delta in deltas]
    found: list[tuple[str, str]] = []
    is_open = False
    for event in documents(through(TO_OPENAI.stream({}, 5), wire(chunks, named=False) + b"data: [DONE]\n\n")):
        match event["type"]:
            case "content_block_start":
                assert not is_open, "one block is open at a time"
                assert event["index"] == len(found)
                found.append((event["content_block"].get("name") or event["content_block"]["type"], ""))
                is_open = True
            case "content_block_delta":
                assert is_open
                assert event["index"] == len(found) - 1
                kind, text = found[-1]
                found[-1] = (kind, text + (event["delta"].get("partial_json") or event["delta"].get("text", "")))
            case "content_block_stop":
                is_open = False
    assert not is_open
    return found


@pytest.mark.parametrize(
    "parts",
    [
        [part(0, "", "f"), part(0, '{"x":1}'), part(1, "", "g"), part(1, '{"y":2}')],
        [part(0, "", "f"), part(1, "", "g"), part(0, '{"x":1}'), part(1, '{"y":2}')],
        [part(0, "", "f"), part(1, "", "g"), part(1, '{"y"'), part(0, '{"x"'), part(1, ":2}"), part(0, ":1}")],
        [part(0, '{"x"', "f"), part(1, '{"y":2}', "g"), part(0, ":1}")],
        [part(0, '{"x":1}', "f"), part(0, '{"y":2}', "g")],
        [part(None, '{"x":1}', "f"), part(None, '{"y":2}', "g")],
    ],
)
@pytest.mark.parametrize("together", [True, False])
def test_calls_that_are_open_together_become_blocks_one_behind_the_other(parts: list[dict[str, Any]], together: bool) -> None:
    deltas = [{"tool_calls": parts}] if together else [{"tool_calls": [one]} for one in parts]
    assert blocks({"content": "So:"}, *deltas) == [("text", "So:"), ("f", '{"x":1}'), ("g", '{"y":2}')]


def test_calls_that_wait_are_told_before_the_text_behind_them() -> None:
    calls = [part(0, "", "f"), part(1, "", "g"), part(2, '{"z":3}', "h")]
    told = [("f", ""), ("g", ""), ("h", '{"z":3}')]
    assert blocks({"tool_calls": calls}) == told
    assert blocks({"tool_calls": calls}, {"content": "Done"}) == [*told, ("text", "Done")]


def test_calls_that_wait_have_a_limit() -> None:
    calls = Calls()
    assert [told for told, _ in calls.take(part(0, "", "f"))]
    assert not list(calls.take(part(1, "x" * MAX_HELD, "g")))
    with pytest.raises(ProtocolError, match="wait for one that does not end"):
        list(calls.take(part(1, "x")))


def test_a_part_of_no_call_is_dropped() -> None:
    assert blocks({"tool_calls": [part(0, "{}", "f"), part(1, "{}", "g"), part(0, "\n")]}) == [("f", "{}"), ("g", "{}")]


def test_a_message_begins_with_the_chunk_that_has_its_name() -> None:
    """Azure's first chunk: https://learn.microsoft.com/en-us/azure/ai-foundry/openai/concepts/content-streaming"""
    filtered = {"choices": [], "created": 0, "id": "", "model": "", "object": "", "prompt_filter_results": [{"prompt_index": 0}]}
    first = {"id": "chatcmpl-1", "model": "gpt-4o", **CHUNKS[0]}
    [start, *_] = documents(through(TO_OPENAI.stream({}, 5), wire([filtered, first], named=False)))
    assert (start["type"], start["message"]["id"], start["message"]["model"]) == ("message_start", "chatcmpl-1", "gpt-4o")


def test_without_being_asked_a_stream_has_no_usage_chunk() -> None:
    data = through(TO_ANTHROPIC.stream({}, 5), wire(ANTHROPICS, named=True))
    assert not [event for event in SseParser().feed(data) if event.json and "usage" in event.json]


@pytest.mark.parametrize(("translator", "named"), [(TO_ANTHROPIC, True), (TO_OPENAI, False)])
def test_a_stream_that_is_cut_off_does_not_look_whole(translator: Translator, named: bool) -> None:
    theirs = ANTHROPICS[:-2] if named else [{"choices": [{"index": 0, "delta": {"content": "a"}}]}]
    data = through(translator.stream({}, 5), wire(theirs, named=named))
    assert b"[DONE]" not in data
    assert b"message_stop" not in data


CHUNKS: list[Any] = [
    {"choices": [{"index": 0, "delta": {"content": "a"}}]},
    {"choices": [{"index": 0, "delta": {}, "finish_reason": "length"}]},
    {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 1}},
]


@pytest.mark.parametrize(
    ("translator", "whole", "unmarked"),
    [
        (TO_ANTHROPIC, wire(ANTHROPICS, named=True), wire(ANTHROPICS[:-1], named=True)),
        (TO_OPENAI, wire(CHUNKS, named=False) + b"data: [DONE]\n\n", wire(CHUNKS, named=False)),
    ],
)
def test_a_stream_that_ends_without_its_mark_is_whole_where_it_says_why_it_stopped(
    translator: Translator, whole: bytes, unmarked: bytes
) -> None:
    told = through(translator.stream({}, 5), whole)
    assert told.endswith((b"data: [DONE]\n\n", b'data: {"type": "message_stop"}\n\n'))
    assert through(translator.stream({}, 5), unmarked) == told


@pytest.mark.parametrize("translator", [TO_ANTHROPIC, TO_OPENAI])
def test_an_error_is_the_last_word_of_a_stream(translator: Translator) -> None:
    named = translator is TO_ANTHROPIC
    theirs = wire(ANTHROPICS[:-1] if named else CHUNKS, named=named)
    error = wire([{"type": "error", "error": {"type": "api_error", "message": "broken"}}], named=named)
    told = through(translator.stream({}, 5), theirs + error)
    assert b"broken" in SseParser().feed(told)[-1].raw


def test_an_error_within_a_stream_is_one_for_the_caller() -> None:
    theirs = wire([*ANTHROPICS[:3], {"type": "error", "error": {"type": "overloaded_error", "message": "busy"}}], named=True)
    *_, last = SseParser().feed(through(TO_ANTHROPIC.stream({}, 5), theirs))
    assert last.json == {"error": {"message": "busy", "type": "server_error", "param": None, "code": None}}
    back = wire([{"choices": [{"delta": {"content": "a"}}]}, last.json], named=False)
    *_, final = SseParser().feed(through(TO_OPENAI.stream({}, 5), back))
    assert (final.name, final.json["error"]["message"]) == ("error", "busy")


def test_a_chunk_that_says_it_has_no_error_is_no_error() -> None:
    chunks = [{"choices": [{"index": 0, "delta": {"content": text}}], "error": None} for text in ("a", "b")]
    names = [event.name for event in SseParser().feed(through(TO_OPENAI.stream({}, 5), wire(chunks, named=False)))]
    assert names == ["message_start", "content_block_start", "content_block_delta", "content_block_delta"]


def test_who_is_translated() -> None:
    assert translator_for(Endpoint.CHAT, Dialect.ANTHROPIC) is TO_ANTHROPIC
    assert translator_for(Endpoint.MESSAGES, Dialect.OPENAI) is TO_OPENAI
    for endpoint, dialect in [(Endpoint.CHAT, Dialect.OPENAI), (Endpoint.MESSAGES, None), (Endpoint.EMBEDDINGS, Dialect.ANTHROPIC)]:
        assert translator_for(endpoint, dialect) is None
