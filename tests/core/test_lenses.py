"""Each API's request read with its types, and its prompt counted by the published formula where there is one."""

import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.ext_proc.core.endpoint import Endpoint
from headrace.ext_proc.core.errors import BodyError
from headrace.ext_proc.core.lenses import Call, read_call
from tests.engine.official import count

MESSAGES = [{"role": "user", "content": "hi"}]
PLAIN: dict[Endpoint, dict[str, Any]] = {
    Endpoint.CHAT: {"model": "m", "messages": MESSAGES},
    Endpoint.COMPLETIONS: {"model": "m", "prompt": "hi"},
    Endpoint.EMBEDDINGS: {"model": "m", "input": "hi"},
    Endpoint.RESPONSES: {"model": "m", "input": "hi"},
    Endpoint.MESSAGES: {"model": "m", "messages": MESSAGES, "max_tokens": 7},
    Endpoint.MESSAGES_COUNT: {"model": "m", "messages": MESSAGES},
    Endpoint.RESPONSES_COUNT: {"model": "m", "input": "hi"},
}


def read(endpoint: Endpoint, **members: Any) -> Call:
    """The plain request with these members over it; None takes one away."""
    document = PLAIN[endpoint] | members
    return read_call(endpoint, {name: value for name, value in document.items() if value is not None})


def prompt_tokens(call: Call, encoding: str) -> int:
    return call.prompt.overhead + sum(count(text, encoding) for text in call.prompt.texts)


@pytest.mark.parametrize("endpoint", [Endpoint.COMPLETIONS, Endpoint.EMBEDDINGS, Endpoint.RESPONSES, Endpoint.RESPONSES_COUNT])
def test_a_chat_at_another_calls_path_is_refused(endpoint: Endpoint) -> None:
    with pytest.raises(BodyError, match="for no chat") as raised:
        read(endpoint, messages=MESSAGES)
    assert raised.value.param == "messages"
    assert read_call(endpoint, PLAIN[endpoint] | {"messages": None}).model == "m"


@pytest.mark.parametrize("endpoint", [Endpoint.CHAT, Endpoint.COMPLETIONS, Endpoint.MESSAGES])
@pytest.mark.parametrize(("own", "cap"), [(5000, 5000), (0, 7), (-1, None), (None, 7)])
def test_a_cap_of_llama_cpps_own_counts_beside_the_apis(endpoint: Endpoint, own: int | None, cap: int | None) -> None:
    assert read(endpoint, max_tokens=7, n_predict=own).output_cap == cap


@pytest.mark.parametrize("value", ["5", 1.5, True])
def test_a_cap_of_llama_cpps_own_is_a_number(value: Any) -> None:
    with pytest.raises(BodyError) as raised:
        read(Endpoint.CHAT, n_predict=value)
    assert raised.value.param == "n_predict"


@pytest.mark.parametrize("endpoint", [Endpoint.MESSAGES_COUNT, Endpoint.RESPONSES_COUNT])
def test_a_count_has_no_answer(endpoint: Endpoint) -> None:
    call = read(endpoint, stream=True, max_tokens=500, max_output_tokens=500)
    assert (call.stream, call.output_cap) == (False, 0)


# --- the formula of https://cookbook.openai.com/examples/how_to_count_tokens_with_tiktoken ---------------------------------------

COOKBOOK = [
    ("system", None, "You are a helpful, pattern-following assistant that translates corporate jargon into plain English."),
    ("system", "example_user", "New synergies will help drive top-line growth."),
    ("system", "example_assistant", "Things working well together will increase revenue."),
    (
        "system",
        "example_user",
        "Let's circle back when we have more bandwidth to touch base on opportunities for increased leverage.",
    ),
    ("system", "example_assistant", "Let's talk later when we're less busy about how to do better."),
    ("user", None, "This late pivot means we don't have time to boil the ocean for the client deliverable."),
]


@pytest.mark.parametrize(("encoding", "tokens"), [("cl100k_base", 129), ("o200k_base", 124)])
def test_the_cookbooks_example_has_the_tokens_that_the_api_reported_for_it(encoding: str, tokens: int) -> None:
    messages = [{"role": role, "content": text} | ({"name": name} if name else {}) for role, name, text in COOKBOOK]
    call = read(Endpoint.CHAT, messages=messages)
    assert call.prompt.exact
    assert prompt_tokens(call, encoding) == tokens


def official_formula(messages: list[dict[str, str]], encoding: str) -> int:
    """num_tokens_from_messages of the cookbook, for the models since gpt-3.5-turbo-0613."""
    tokens = 3
    for message in messages:
        tokens += 3
        for key, value in message.items():
            tokens += count(value, encoding)
            if key == "name":
                tokens += 1
    return tokens


MESSAGE = st.fixed_dictionaries(
    {"role": st.sampled_from(["system", "user", "assistant", "developer"]), "content": st.text(max_size=60)},
    optional={"name": st.from_regex(r"[a-z_]{1,12}", fullmatch=True)},
)


@given(st.lists(MESSAGE, max_size=6))
def test_text_messages_count_by_the_official_formula(messages: list[dict[str, str]]) -> None:
    call = read(Endpoint.CHAT, messages=messages)
    assert call.prompt.exact
    assert prompt_tokens(call, "o200k_base") == official_formula(messages, "o200k_base")


# --- what every API shares ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("endpoint", Endpoint)
def test_a_plain_request_of_every_api(endpoint: Endpoint) -> None:
    call = read(endpoint)
    assert (call.model, call.stream, call.choices) == ("m", False, 1)
    assert call.output_cap == (7 if endpoint is Endpoint.MESSAGES else None if endpoint.has_answer else 0)
    assert "hi" in call.prompt.texts


@pytest.mark.parametrize("endpoint", Endpoint)
@pytest.mark.parametrize("model", [None, "", 7, ["m"], {"m": 1}, True, "m\n", "m\x00", "\ud800"], ids=repr)
def test_a_model_is_a_printable_name(endpoint: Endpoint, model: Any) -> None:
    with pytest.raises(BodyError, match="'model' must be the name of a model") as refusal:
        read(endpoint, model=model)
    assert (refusal.value.param, refusal.value.reason, refusal.value.status) == ("model", "body.invalid", 400)


STREAMED = [endpoint for endpoint in Endpoint if endpoint.has_answer]


@pytest.mark.parametrize("endpoint", STREAMED)
def test_stream(endpoint: Endpoint) -> None:
    assert read(endpoint, stream=True).stream
    assert not read(endpoint, stream=False).stream


NO_BOOLEANS: list[Any] = ["true", 1, [], 0.0]
HOSTILE: list[tuple[Endpoint, str, Any]] = [
    *[(endpoint, "stream", value) for endpoint in STREAMED for value in NO_BOOLEANS],
    (Endpoint.CHAT, "messages", "hi"),
    (Endpoint.CHAT, "messages", {"role": "user"}),
    (Endpoint.CHAT, "messages", ["hi"]),
    (Endpoint.CHAT, "messages", [[{"role": "user"}]]),
    (Endpoint.MESSAGES, "messages", None),
    (Endpoint.CHAT, "max_tokens", 0),
    (Endpoint.CHAT, "max_tokens", -1),
    (Endpoint.CHAT, "max_tokens", 2**31 + 1),
    (Endpoint.CHAT, "max_tokens", 10**30),
    (Endpoint.CHAT, "max_tokens", 1.5),
    (Endpoint.CHAT, "max_tokens", True),
    (Endpoint.CHAT, "max_tokens", "100"),
    (Endpoint.CHAT, "max_completion_tokens", []),
    (Endpoint.MESSAGES, "max_tokens", "x"),
    (Endpoint.MESSAGES, "max_tokens", -1),
    (Endpoint.RESPONSES, "max_output_tokens", 0),
    (Endpoint.RESPONSES, "max_output_tokens", 0),
    (Endpoint.COMPLETIONS, "max_tokens", -5),
    (Endpoint.CHAT, "n", 0),
    (Endpoint.CHAT, "n", 129),
    (Endpoint.CHAT, "n", True),
    (Endpoint.COMPLETIONS, "best_of", 1000),
    (Endpoint.CHAT, "stream_options", True),
    (Endpoint.COMPLETIONS, "stream_options", []),
    (Endpoint.RESPONSES, "input", 7),
    (Endpoint.RESPONSES, "input", {"text": "x"}),
    (Endpoint.EMBEDDINGS, "input", None),
    (Endpoint.EMBEDDINGS, "input", []),
    (Endpoint.EMBEDDINGS, "input", {}),
    (Endpoint.EMBEDDINGS, "input", True),
    (Endpoint.EMBEDDINGS, "input", [True]),
    (Endpoint.EMBEDDINGS, "input", ["a", 1]),
    (Endpoint.EMBEDDINGS, "input", [["a"]]),
    (Endpoint.EMBEDDINGS, "input", [[1.5]]),
    (Endpoint.COMPLETIONS, "prompt", []),
    (Endpoint.COMPLETIONS, "prompt", ["a"] * 2049),
    (Endpoint.COMPLETIONS, "prompt", 1.5),
]


@pytest.mark.parametrize(("endpoint", "member", "value"), HOSTILE, ids=lambda value: repr(value)[:40])
def test_a_member_of_the_wrong_type_is_refused_by_its_name(endpoint: Endpoint, member: str, value: Any) -> None:
    with pytest.raises(BodyError) as refusal:
        read(endpoint, **{member: value})
    assert (refusal.value.param, refusal.value.reason) == (member, "body.invalid")


DEEPER: list[tuple[Endpoint, dict[str, Any], str]] = [
    (Endpoint.CHAT, {"messages": [{}, {"content": 7}]}, "messages[1].content"),
    (Endpoint.CHAT, {"messages": [{"content": {"text": "x"}}]}, "messages[0].content"),
    (Endpoint.CHAT, {"messages": [], "stream_options": {"include_usage": "yes"}}, "stream_options.include_usage"),
    (Endpoint.MESSAGES, {"system": 7}, "system"),
    (Endpoint.RESPONSES, {"input": ["x"]}, "input[0]"),
    (Endpoint.RESPONSES, {"input": [{"role": "user", "content": 7}]}, "input[0].content"),
]


@pytest.mark.parametrize(("endpoint", "members", "param"), DEEPER)
def test_a_refusal_names_the_place(endpoint: Endpoint, members: Mapping[str, Any], param: str) -> None:
    with pytest.raises(BodyError) as refusal:
        read(endpoint, **members)
    assert refusal.value.param == param


NAMES = st.sampled_from(["type", "text", "content", "role", "name", "image_url", "detail", "input", "tool_result", "source"])
ATOMS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5)
KINDS = st.sampled_from(["text", "image_url", "tool_result", "message"])
ANY = st.recursive(
    ATOMS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner | KINDS, max_size=4), max_leaves=15
)
MEMBERS = st.dictionaries(
    st.sampled_from(["messages", "input", "prompt", "system", "tools", "n", "stream", "stream_options", "suffix"]), ANY
)


@given(st.sampled_from(list(Endpoint)), MEMBERS)
def test_any_json_is_read_or_refused(endpoint: Endpoint, members: dict[str, Any]) -> None:
    try:
        call = read(endpoint, **members)
    except BodyError as refusal:
        assert refusal.status == 400
    else:
        assert call.prompt.overhead >= 0
        assert all(isinstance(text, str) for text in call.prompt.texts)


# --- caps and choices -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["Max_Tokens", "STREAM", "\u017ftream", "Messages", "N"])
def test_a_member_that_some_parser_takes_for_one_that_counts_is_refused(name: str) -> None:
    with pytest.raises(BodyError) as refusal:
        read(Endpoint.CHAT, **{name: 7})
    assert (refusal.value.param, refusal.value.message) == (name, f"'{name}' must be written {name.casefold()!r}")


def test_other_members_may_be_in_capitals() -> None:
    assert read(Endpoint.CHAT, Vendor_Option=1, MAX=2).output_cap is None


def test_the_larger_of_two_caps_is_believed() -> None:
    assert read(Endpoint.CHAT, max_tokens=5, max_completion_tokens=9).output_cap == 9
    assert read(Endpoint.CHAT, max_tokens=9, max_completion_tokens=5).output_cap == 9


@pytest.mark.parametrize("endpoint", [Endpoint.MESSAGES, Endpoint.COMPLETIONS])
def test_a_cap_of_nothing_is_one_where_the_api_has_it(endpoint: Endpoint) -> None:
    assert read(endpoint, max_tokens=0).output_cap == 0
    assert read(Endpoint.RESPONSES, max_output_tokens=3).output_cap == 3


@pytest.mark.parametrize(
    ("members", "choices"),
    [
        ({"prompt": "a", "n": 3}, 3),
        ({"prompt": "a", "n": 3, "best_of": 5}, 5),
        ({"prompt": ["a", "b"], "n": 3}, 6),
        ({"prompt": [1, 2, 3]}, 1),
        ({"prompt": [[1, 2], [3]]}, 2),
        ({"prompt": None}, 1),
    ],
)
def test_choices_of_completions(members: dict[str, Any], choices: int) -> None:
    assert read(Endpoint.COMPLETIONS, **members).choices == choices


@pytest.mark.parametrize(
    ("options", "expected"), [(None, None), ({}, None), ({"include_usage": None}, None), ({"include_usage": False}, False)]
)
@pytest.mark.parametrize("endpoint", [Endpoint.CHAT, Endpoint.COMPLETIONS])
def test_what_a_request_says_of_its_usage_event(endpoint: Endpoint, options: Any, expected: bool | None) -> None:
    assert read(endpoint, stream_options=options).include_usage is expected


@pytest.mark.parametrize("endpoint", [Endpoint.RESPONSES, Endpoint.MESSAGES])
def test_the_other_apis_always_report_usage(endpoint: Endpoint) -> None:
    assert read(endpoint).include_usage is True


# --- what is counted --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [[1, 2, 3], [[1, 2], [3]]])
def test_token_ids_count_as_themselves(value: Any) -> None:
    prompt = read(Endpoint.EMBEDDINGS, input=value).prompt
    assert (prompt.texts, prompt.overhead, prompt.exact) == ((), 3, True)


def test_texts_to_embed_are_counted_without_a_formula() -> None:
    prompt = read(Endpoint.EMBEDDINGS, input=["a", "b"]).prompt
    assert (prompt.texts, prompt.overhead, prompt.exact) == (("a", "b"), 0, True)


def test_a_completions_suffix_is_counted() -> None:
    assert read(Endpoint.COMPLETIONS, suffix="z").prompt.texts == ("hi", "z")


IMAGES = [
    ({"type": "image_url", "image_url": {"url": "data:…"}}, 765),
    ({"type": "image_url", "image_url": {"url": "data:…", "detail": "low"}}, 85),
    ({"type": "input_image", "image_url": "data:…", "detail": "low"}, 85),
    ({"type": "image", "source": {"type": "base64", "data": "x" * 10_000}}, 765),
    ({"type": "image_url", "text": "", "image_url": {"url": "data:…"}}, 765),
]


@pytest.mark.parametrize(("part", "tokens"), IMAGES)
def test_images_count_by_the_table_whatever_stands_beside_them(part: dict[str, Any], tokens: int) -> None:
    prompt = read(Endpoint.CHAT, messages=[{"role": "user", "content": [part]}]).prompt
    assert (prompt.texts, prompt.overhead, prompt.exact) == (("user",), 3 + 3 + tokens, False)


def test_text_parts_count_as_their_text() -> None:
    parts = ["bare", {"type": "text", "text": "a"}, {"text": "b"}]
    prompt = read(Endpoint.CHAT, messages=[{"role": "user", "content": parts}]).prompt
    assert (prompt.texts, prompt.exact) == (("user", "bare", "a", "b"), True)


def test_parts_of_other_types_count_as_their_json() -> None:
    part = {"type": "input_audio", "input_audio": {"data": "abc"}}
    prompt = read(Endpoint.CHAT, messages=[{"role": "user", "content": [part, {"type": "text", "text": 7}]}]).prompt
    assert prompt.texts == ("user", json.dumps(part), json.dumps({"type": "text", "text": 7}))
    assert not prompt.exact


def test_a_tools_screenshot_counts_as_an_image_and_its_words_as_words() -> None:
    screenshot = {"type": "image", "source": {"type": "base64", "data": "x" * 100_000}}
    result = {"type": "tool_result", "tool_use_id": "t1", "content": [screenshot, {"type": "text", "text": "done"}]}
    prompt = read(Endpoint.MESSAGES, messages=[{"role": "user", "content": [result]}]).prompt
    assert prompt.texts == ("user", json.dumps({"type": "tool_result", "tool_use_id": "t1"}), "done")
    assert prompt.overhead == 3 + 3 + 765


def test_a_tools_result_in_one_string_counts_as_its_json() -> None:
    result = {"type": "tool_result", "tool_use_id": "t1", "content": "done"}
    assert json.dumps(result) in read(Endpoint.MESSAGES, messages=[{"role": "user", "content": [result]}]).prompt.texts


@pytest.mark.parametrize("member", ["functions", "response_format"])
def test_what_describes_the_answer_is_estimated(member: str) -> None:
    prompt = read(Endpoint.CHAT, **{member: [{"type": "function"}]}).prompt
    assert (prompt.texts[-1], prompt.exact) == ('[{"type": "function"}]', False)


@pytest.mark.parametrize("member", ["tool_calls", "function_call", "refusal", "reasoning_content", "audio", "anything"])
def test_what_a_template_may_render_of_a_message_is_estimated(member: str) -> None:
    prompt = read(Endpoint.CHAT, messages=[{"role": "assistant", "content": None, "tool_call_id": "x", member: ["y"]}]).prompt
    assert (prompt.texts, prompt.exact) == (("assistant", '["y"]'), False)


@pytest.mark.parametrize("member", ["tool_calls", "refusal"])
def test_an_empty_member_of_a_message_costs_nothing(member: str) -> None:
    assert read(Endpoint.CHAT, messages=[{"role": "assistant", "content": "x", member: None}]).prompt.exact


def test_a_role_or_name_that_is_no_string_is_counted_as_its_json() -> None:
    prompt = read(Endpoint.CHAT, messages=[{"role": ["user"], "content": "x", "name": 7}]).prompt
    assert (prompt.texts, prompt.exact) == (('["user"]', "x", "7"), False)


def test_an_anthropic_prompt_with_system_and_tools_is_estimated() -> None:
    prompt = read(Endpoint.MESSAGES, system="be brief", tools=[{"name": "f"}]).prompt
    assert prompt.texts == ("be brief", "user", "hi", '[{"name": "f"}]')
    assert (prompt.overhead, prompt.exact) == (6, False)


def test_a_system_prompt_in_parts() -> None:
    assert read(Endpoint.MESSAGES, system=[{"type": "text", "text": "be brief"}]).prompt.texts[0] == "be brief"


def test_items_of_responses() -> None:
    call_item = {"type": "function_call", "name": "f", "arguments": "{}"}
    hiding = {"type": "function_call", "content": "", "arguments": "long"}
    message = {"role": "user", "content": [{"type": "input_text", "text": "hi"}]}
    prompt = read(Endpoint.RESPONSES, instructions="brief", tools=[1], input=[message, call_item, hiding]).prompt
    assert prompt.texts == ("brief", "[1]", "user", "hi", json.dumps(call_item), json.dumps(hiding))
    assert (prompt.overhead, prompt.exact) == (3 + 3 * 3, False)


def test_responses_without_input_have_the_priming_alone() -> None:
    prompt = read(Endpoint.RESPONSES, input=None, previous_response_id="r").prompt
    assert (prompt.texts, prompt.overhead) == ((), 6)


def test_models_beside_the_one_asked_for() -> None:
    tools = [{"type": "advisor_20260301", "name": "advisor", "model": "d"}, {"type": "image_generation", "model": "e"}]
    call = read(Endpoint.MESSAGES, fallbacks=[{"model": "a"}, "b"], models=["c"], fallback_models=["e"], tools=tools)
    assert [*call.others[:3]] == [("fallbacks", "a"), ("fallbacks", "b"), ("models", "c")]
    assert [*call.others[3:]] == [("fallback_models", "e"), ("tools", "d")]
    assert read(Endpoint.MESSAGES, fallbacks="default").others == (("fallbacks", "default"),)
    added = {"type": "tool_addition", "tool": {"type": "tool_definition", "definition": tools[0]}}
    turns = [{"role": "user", "content": ["hi", {"type": "text", "text": "x", "tool": 1}, added]}]
    assert read(Endpoint.MESSAGES, messages=turns).others == (("messages", "d"),)


COMPACTS = {"edits": [{"type": "clear_thinking_20251015"}, {"type": "compact_20260112"}]}


@pytest.mark.parametrize(
    ("members", "beside"),
    [
        ({"context_management": COMPACTS}, True),
        ({"context_management": COMPACTS, "fallbacks": ["a"]}, True),
        ({"tools": [{"type": "advisor_20260301", "model": "d"}]}, True),
        ({"fallbacks": ["a"]}, False),
        ({"context_management": {"edits": [{"type": "clear_thinking_20251015"}, "compact", {}]}}, False),
        ({"context_management": {"edits": "compact"}}, False),
        ({"context_management": "compact"}, False),
        ({}, False),
    ],
)
def test_tokens_may_be_used_beside_the_sums_where_it_is_summarised_or_advised(members: dict[str, Any], beside: bool) -> None:
    assert read(Endpoint.MESSAGES, **members).beside is beside


@pytest.mark.parametrize("endpoint", PLAIN)
def test_without_any_there_are_none(endpoint: Endpoint) -> None:
    assert read(endpoint, fallbacks=[], tools=[{"type": "function", "function": {"name": "f"}}]).others == ()


@pytest.mark.parametrize(
    "members",
    [
        {"fallbacks": {"model": "a"}},
        {"fallbacks": 1},
        {"Fallbacks": [{"model": "a"}]},
        {"models": [None]},
        {"models": [""]},
        {"models": [{"model": ["a"]}]},
        {"models": ["a\n"]},
        {"tools": [{"type": "advisor_20260301"}]},
    ],
)
def test_models_that_only_a_provider_may_understand_are_refused(members: dict[str, Any]) -> None:
    with pytest.raises(BodyError) as caught:
        read(Endpoint.MESSAGES, **members)
    assert caught.value.param == next(iter(members))
