"""The provider's usage in every dialect, whole and event by event."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.ext_proc.core.sse import SseEvent
from headrace.ext_proc.core.usage import Usage, UsageMeter, text_of, usage_in, usage_of

OPENAI_CHAT = {
    "prompt_tokens": 19,
    "completion_tokens": 10,
    "total_tokens": 29,
    "prompt_tokens_details": {"cached_tokens": 8, "audio_tokens": 0},
    "completion_tokens_details": {"reasoning_tokens": 4},
}
RESPONSES = {
    "input_tokens": 36,
    "input_tokens_details": {"cached_tokens": 3},
    "output_tokens": 87,
    "output_tokens_details": {"reasoning_tokens": 2},
}
ANTHROPIC = {"input_tokens": 21, "cache_creation_input_tokens": 188, "cache_read_input_tokens": 5, "output_tokens": 393}
HOUR = {"cache_creation_input_tokens": 10, "cache_creation": {"ephemeral_1h_input_tokens": 6, "ephemeral_5m_input_tokens": 4}}

READ: list[tuple[Any, Usage | None]] = [
    (OPENAI_CHAT, Usage(19, 10, 8, 4)),
    ({"prompt_tokens": 8, "total_tokens": 8}, Usage(8, 0)),
    (RESPONSES, Usage(36, 87, 3, 2)),
    (ANTHROPIC, Usage(21 + 188 + 5, 393, 5, cache_write_tokens=188)),
    ({"prompt_tokens": 30, "completion_tokens": 2, **HOUR}, Usage(30, 2, cache_write_tokens=10, cache_write_1h_tokens=6)),
    ({**OPENAI_CHAT, "cache_read_input_tokens": 8}, Usage(19, 10, 8, 4)),
    ({"input_tokens": 5, **HOUR, "output_tokens": 2}, Usage(15, 2, cache_write_tokens=10, cache_write_1h_tokens=6)),
    ({"input_tokens": 5, "service_tier": "batch"}, Usage(5, 0, service_tier="batch")),
    ({"input_tokens": 5, "service_tier": 7}, Usage(5, 0)),
    ({"input_tokens": 5, "service_tier": "x" * 99}, Usage(5, 0, service_tier="x" * 32)),
    ({"output_tokens": 15}, Usage(0, 15)),
    ({"prompt_tokens": 3.0, "completion_tokens": 4.0}, Usage(3, 4)),
    ({"prompt_tokens": None, "input_tokens": 7}, Usage(7, 0)),
    ({"prompt_tokens": 1, "prompt_tokens_details": "many"}, Usage(1, 0)),
    ({"prompt_tokens": 1, "prompt_tokens_details": {"cached_tokens": "two"}}, Usage(1, 0)),
    ({}, None),
    (None, None),
    ([1, 2], None),
    ({"prompt_tokens": "19"}, None),
    ({"prompt_tokens": True, "completion_tokens": -1}, None),
    ({"prompt_tokens": float("nan"), "completion_tokens": 2**53}, None),
]


@pytest.mark.parametrize(("members", "usage"), READ, ids=lambda value: repr(value)[:50])
def test_a_providers_usage(members: Any, usage: Usage | None) -> None:
    assert usage_of(members) == usage


def test_the_total() -> None:
    assert Usage(3, 4, 2, 1).total_tokens == 7


def test_records_name_the_rare_members_where_there_are_any() -> None:
    plain = {"input_tokens": 9, "output_tokens": 4, "cached_tokens": 3, "reasoning_tokens": 2}
    assert Usage(9, 4, 3, 2).members == plain
    assert Usage(9, 4, 3, 2, 1, 0, "flex").members == {**plain, "cache_write_tokens": 1, "service_tier": "flex"}


WHERE: list[tuple[Any, Usage | None]] = [
    ({"usage": OPENAI_CHAT}, Usage(19, 10, 8, 4)),
    ({"type": "response.completed", "response": {"usage": RESPONSES}}, Usage(36, 87, 3, 2)),
    ({"type": "message_start", "message": {"usage": {"input_tokens": 5, "output_tokens": 1}}}, Usage(5, 1)),
    ({"type": "message_delta", "usage": {"output_tokens": 15}}, Usage(0, 15)),
    ({"usage": {"prompt_tokens": 1}, "service_tier": "flex"}, Usage(1, 0, service_tier="flex")),
    ({"response": {"usage": {"input_tokens": 1}, "service_tier": "priority"}}, Usage(1, 0, service_tier="priority")),
    ({"usage": None}, None),
    ({"usage": None, "response": "gone", "message": {"usage": None}}, None),
    ([], None),
    (None, None),
]


@pytest.mark.parametrize(("document", "usage"), WHERE, ids=lambda value: repr(value)[:50])
def test_where_each_dialect_puts_it(document: Any, usage: Usage | None) -> None:
    assert usage_in(document) == usage


TOOL_CALL = {"function": {"name": "f", "arguments": '{"a'}}
WORDS: list[tuple[Any, str]] = [
    ({"choices": [{"delta": {"content": "a"}}, {"delta": {"content": "b"}}]}, "ab"),
    ({"choices": [{"delta": {"refusal": "no", "reasoning_content": "hm", "role": "assistant"}}]}, "nohm"),
    ({"choices": [{"delta": {"tool_calls": [TOOL_CALL, TOOL_CALL, 7, {"function": None}]}}]}, 'f{"af{"a'),
    ({"choices": [{"text": "legacy"}]}, "legacy"),
    ({"type": "response.output_text.delta", "delta": "whole"}, "whole"),
    ({"type": "content_block_delta", "delta": {"type": "text_delta", "text": "claude"}}, "claude"),
    ({"delta": {"thinking": "so"}}, "so"),
    ({"delta": {"partial_json": "{}"}}, "{}"),
    ({"type": "response.output_text.done", "text": "whole"}, ""),
    ({"choices": None}, ""),
    ({"choices": "x"}, ""),
    ({"choices": [7, None, {"delta": None, "text": 7}]}, ""),
    ({"delta": {"content": ["parts"], "tool_calls": {}}}, ""),
    ([], ""),
]


@pytest.mark.parametrize(("document", "text"), WORDS, ids=lambda value: repr(value)[:50])
def test_the_words_an_event_adds(document: Any, text: str) -> None:
    assert text_of(document) == text


ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["usage", "response", "message", "choices", "delta", "tool_calls", "function", "prompt_tokens", "text"]
            ),
            inner,
        )
    ),
    max_leaves=12,
)


@given(ANY)
def test_no_answer_of_a_provider_is_an_error(document: Any) -> None:
    assert isinstance(text_of(document), str)
    found = usage_in(document)
    assert found is None or found.total_tokens >= 0


def metered(*documents: Any) -> UsageMeter:
    meter = UsageMeter()
    for document in documents:
        meter.event(SseEvent(b"data: x\n\n").with_json(document))
    return meter


def test_anthropics_usage_is_joined_from_its_first_and_last_event() -> None:
    start = {"type": "message_start", "message": {"usage": {"input_tokens": 25, "cache_read_input_tokens": 5, "output_tokens": 1}}}
    end = {"type": "message_delta", "usage": {"output_tokens": 15}}
    assert metered(start, {"delta": {"text": "hi"}}, end).usage == Usage(30, 15, 5)


START = {"type": "message_start", "message": {"usage": {"input_tokens": 25, "output_tokens": 1}}}


@pytest.mark.parametrize(
    "events", [[START], [START, {"type": "error", "error": {}}], [START, {"type": "message_delta", "delta": {}}], [{"usage": {}}]]
)
def test_usage_without_the_answers_part_is_none(events: list[Any]) -> None:
    assert metered(*events).usage is None
    assert metered(*events).input_tokens == (25 if START in events else 0)


UNUSABLE = [None, -5, "5", 1e300, True, float("nan"), [5]]


@pytest.mark.parametrize("count", UNUSABLE, ids=repr)
@pytest.mark.parametrize("members", [("prompt_tokens", "completion_tokens"), ("input_tokens", "output_tokens")])
def test_without_a_count_of_the_answer_no_usage_is_told(members: tuple[str, str], count: Any) -> None:
    taken, given = members
    meter = metered({"usage": {taken: 8, given: count}})
    assert (meter.usage, meter.input_tokens) == (None, 8)
    meter.whole({"usage": {taken: 8, given: count}})
    assert meter.usage is None
    meter.whole({"usage": {taken: 8}}, has_answer=False)
    assert meter.usage == Usage(8, 0)


def test_an_answer_of_no_tokens_is_told_by_its_last_event() -> None:
    assert metered(START | {"message": {"usage": {"input_tokens": 25}}}, {"usage": {"output_tokens": 0}}).usage == Usage(25, 0)


def test_a_later_report_never_lowers_an_earlier_one() -> None:
    more = {"usage": {"prompt_tokens": 5, "completion_tokens": 9, "completion_tokens_details": {"reasoning_tokens": 3}}}
    less = {"usage": {"prompt_tokens": 4, "completion_tokens": 8}}
    assert metered(more, less).usage == Usage(5, 9, 0, 3)


def step(kind: Any, taken: int, given: int, **more: int) -> dict[str, Any]:
    return {"type": kind, "input_tokens": taken, "output_tokens": given, "cache_read_input_tokens": 0} | more


SUMS = {"input_tokens": 23_000, "output_tokens": 1_000}
STEPS = [
    step("compaction", 180_000, 3_500),
    step("message", 23_000, 1_000),
    step("advisor_message", 800, 90, cache_read_input_tokens=10),
]


def test_what_anthropics_sums_leave_out_is_added() -> None:
    meter = UsageMeter()
    meter.whole({"usage": SUMS | {"iterations": STEPS}})
    assert meter.usage == Usage(23_000 + 180_000 + 810, 1_000 + 3_500 + 90, 10)
    meter.whole({"usage": SUMS | {"iterations": STEPS[1:2]}})
    assert meter.usage == Usage(23_000, 1_000)


@pytest.mark.parametrize("taken", [{}, {"input_tokens": 25}])
def test_steps_of_a_stream_come_with_its_last_sums_each_time_all_of_them(taken: dict[str, int]) -> None:
    first = {"type": "message_delta", "usage": taken | {"output_tokens": 7, "iterations": [STEPS[0]]}}
    second = {"type": "message_delta", "usage": taken | {"output_tokens": 9, "iterations": STEPS}}
    last = {"type": "message_delta", "usage": taken | {"output_tokens": 9}}
    assert metered(START, first, second, last).usage == Usage(25 + 180_000 + 810, 9 + 3_500 + 90, 10)
    assert metered(START, second).input_tokens == 25, "which is of the prompt"


@pytest.mark.parametrize(
    "steps", [None, 5, {}, [], [None, [], "compaction"], [{"type": "compaction"}], [step(["compaction"], 1, 1)]]
)
def test_steps_that_are_none_add_nothing(steps: Any) -> None:
    meter = metered({"usage": SUMS | {"iterations": steps}})
    assert meter.usage == Usage(23_000, 1_000)


def test_events_without_json_say_nothing() -> None:
    meter = UsageMeter()
    for raw in (b"data: [DONE]\n\n", b": ping\n\n", b"data: 7\n\n", b"data: oops\n\n"):
        meter.event(SseEvent(raw))
    assert (meter.usage, meter.text) == (None, "")


def test_words_beyond_the_limit_are_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(UsageMeter, "MAX_TEXT", 4)
    assert metered({"delta": "abcd"}, {"delta": "e"}, {"delta": ""}).text == "abcd"


def test_the_usage_of_a_whole_answer() -> None:
    meter = UsageMeter()
    meter.whole({"usage": OPENAI_CHAT})
    assert meter.usage == Usage(19, 10, 8, 4)
    meter.whole(None)
    assert meter.usage is None
