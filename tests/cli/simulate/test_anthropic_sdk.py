"""The pool through the real Anthropic SDK."""

import anthropic
import pytest
from anthropic.types import MessageParam, ThinkingBlock, ToolParam, ToolUseBlock

from headrace.ext_proc.cli.simulate import SimulatedPool, words

HELLO: list[MessageParam] = [{"role": "user", "content": "My address is ada@example.com"}]
TOOLS: list[ToolParam] = [{"name": "note", "input_schema": {"type": "object", "properties": {"text": {"type": "string"}}}}]


def script(text: str) -> dict[str, str]:
    return {"x-simulate": text}


async def test_a_message_has_the_text_its_usage_counts(anthropic_client: anthropic.AsyncAnthropic, pool: SimulatedPool) -> None:
    answer = await anthropic_client.messages.create(
        model="claude", max_tokens=7, messages=HELLO, system="Be brief", extra_headers=script("cached=4")
    )
    block = answer.content[0]
    assert block.type == "text" and words.count(block.text) == answer.usage.output_tokens == 7
    assert answer.stop_reason == "max_tokens"
    assert answer.usage.cache_read_input_tokens == 4
    assert answer.usage.input_tokens + 4 == pool.books.prompt_tokens


async def test_a_stream_ends_with_the_same_message(anthropic_client: anthropic.AsyncAnthropic, pool: SimulatedPool) -> None:
    async with anthropic_client.messages.stream(
        model="claude", max_tokens=50, messages=HELLO, extra_headers=script("echo reasoning=3")
    ) as stream:
        said = "".join([text async for text in stream.text_stream])
        final = await stream.get_final_message()
    assert said == "My address is ada@example.com"
    thought = final.content[0]
    assert isinstance(thought, ThinkingBlock) and words.count(thought.thinking) == 3
    assert final.usage.output_tokens == 3 + words.count(said) == pool.books.completion_tokens
    assert final.usage.input_tokens == pool.books.prompt_tokens


@pytest.mark.parametrize("cap", [100, 4])
async def test_a_tool_is_used_with_streamed_input(anthropic_client: anthropic.AsyncAnthropic, cap: int) -> None:
    async with anthropic_client.messages.stream(
        model="claude", max_tokens=cap, messages=HELLO, tools=TOOLS, extra_headers=script("echo")
    ) as stream:
        fragments = [event.partial_json async for event in stream if event.type == "input_json"]
        final = await stream.get_final_message()
    assert final.stop_reason == ("tool_use" if cap == 100 else "max_tokens")
    assert final.usage.output_tokens == words.count("note") + words.count("".join(fragments))
    if cap == 100:
        use = final.content[0]
        assert isinstance(use, ToolUseBlock) and use.input == {"text": "My address is ada@example.com"}


async def test_a_tool_result_is_answered_in_words(anthropic_client: anthropic.AsyncAnthropic) -> None:
    followed: list[MessageParam] = [
        *HELLO,
        {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "note", "input": {"text": "a"}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": [{"type": "text", "text": "ok"}]}]},
    ]
    answer = await anthropic_client.messages.create(model="claude", max_tokens=50, messages=followed, tools=TOOLS)
    assert answer.stop_reason == "end_turn"
    whole = await anthropic_client.messages.create(model="claude", max_tokens=50, messages=HELLO, tools=TOOLS)
    assert whole.content[0].type == "tool_use"


async def test_a_failure_is_in_anthropics_dialect(anthropic_client: anthropic.AsyncAnthropic) -> None:
    with pytest.raises(anthropic.RateLimitError) as caught:
        await anthropic_client.messages.create(model="claude", max_tokens=5, messages=HELLO, extra_headers=script("fail=429"))
    assert caught.value.body == {
        "type": "error",
        "error": {"type": "rate_limit_error", "message": "simulated failure"},
        "request_id": None,
    }
