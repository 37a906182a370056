"""The pool through the real OpenAI SDK: what it parses, and that usage, text and books agree."""

import json

import openai
import pytest
from openai.types.chat import ChatCompletionChunk, ChatCompletionMessageParam, ChatCompletionToolParam
from openai.types.responses import FunctionToolParam, ResponseFunctionToolCall

from headrace.ext_proc.cli.simulate import SimulatedPool, words
from headrace.ext_proc.cli.simulate.books import Outcome

HELLO: list[ChatCompletionMessageParam] = [{"role": "user", "content": "My address is ada@example.com"}]
SCHEMA: dict[str, object] = {
    "type": "object",
    "properties": {"text": {"type": "string"}, "copies": {"type": "integer"}, "when": {"enum": ["now"]}},
}
TOOLS: list[ChatCompletionToolParam] = [{"type": "function", "function": {"name": "note", "parameters": SCHEMA}}]
RESPONSE_TOOLS: list[FunctionToolParam] = [{"type": "function", "name": "note", "parameters": SCHEMA, "strict": False}]


def script(text: str) -> dict[str, str]:
    return {"x-simulate": text}


async def chunks(stream: openai.AsyncStream[ChatCompletionChunk]) -> list[ChatCompletionChunk]:
    return [chunk async for chunk in stream]


def text(received: list[ChatCompletionChunk], index: int = 0) -> str:
    return "".join(c.delta.content or "" for chunk in received for c in chunk.choices if c.index == index)


async def test_a_chat_has_the_text_its_usage_counts(openai_client: openai.AsyncOpenAI, pool: SimulatedPool) -> None:
    answer = await openai_client.chat.completions.create(model="m-1", messages=HELLO, extra_headers=script("tokens=40 cached=3"))
    assert answer.model == "m-1"
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None and answer.usage.prompt_tokens_details is not None
    assert words.count(answer.choices[0].message.content or "") == answer.usage.completion_tokens == 40
    assert answer.usage.prompt_tokens == 3 + 1 + words.count("My address is ada@example.com") + 3
    assert answer.usage.prompt_tokens_details.cached_tokens == 3
    assert (pool.books.prompt_tokens, pool.books.completion_tokens) == (answer.usage.prompt_tokens, 40)


@pytest.mark.parametrize("cap", [{"max_tokens": 5}, {"max_completion_tokens": 5}, {"max_tokens": 9, "max_completion_tokens": 5}])
async def test_a_cap_ends_the_answer_with_length(openai_client: openai.AsyncOpenAI, cap: dict[str, int]) -> None:
    answer = await openai_client.chat.completions.create(model="m", messages=HELLO, extra_body=cap)
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage is not None and answer.usage.completion_tokens == 5


async def test_a_stream_brings_the_usage_last_when_asked(openai_client: openai.AsyncOpenAI, pool: SimulatedPool) -> None:
    stream = await openai_client.chat.completions.create(
        model="m", messages=HELLO, stream=True, stream_options={"include_usage": True}
    )
    received = await chunks(stream)
    usage = received[-1].usage
    assert usage is not None and received[-1].choices == []
    assert not any(chunk.usage for chunk in received[:-1])
    assert words.count(text(received)) == usage.completion_tokens == pool.books.completion_tokens == 16


async def test_a_stream_brings_no_usage_unasked(openai_client: openai.AsyncOpenAI) -> None:
    stream = await openai_client.chat.completions.create(model="m", messages=HELLO, stream=True)
    received = await chunks(stream)
    assert not any(chunk.usage for chunk in received)
    assert received[-1].choices[0].finish_reason == "stop"


async def test_continuous_usage_runs_with_the_tokens(openai_client: openai.AsyncOpenAI) -> None:
    options = {"stream_options": {"include_usage": True, "continuous_usage_stats": True}}
    stream = await openai_client.chat.completions.create(model="m", messages=HELLO, stream=True, extra_body=options)
    running = [chunk.usage.completion_tokens for chunk in await chunks(stream) if chunk.usage]
    assert running == [*range(17), 16, 16]


async def test_choices_take_turns_and_count_together(openai_client: openai.AsyncOpenAI) -> None:
    stream = await openai_client.chat.completions.create(
        model="m", messages=HELLO, stream=True, n=3, stream_options={"include_usage": True}, extra_headers=script("tokens=4")
    )
    received = await chunks(stream)
    said = [text(received, index) for index in range(3)]
    assert len(set(said)) == 3
    assert [words.count(one) for one in said] == [4, 4, 4]
    assert received[-1].usage is not None and received[-1].usage.completion_tokens == 12


async def test_echo_streams_the_last_user_message_token_by_token(openai_client: openai.AsyncOpenAI) -> None:
    stream = await openai_client.chat.completions.create(model="m", messages=HELLO, stream=True, extra_headers=script("echo"))
    received = await chunks(stream)
    assert text(received) == "My address is ada@example.com"
    assert not any("ada@example.com" in (c.delta.content or "") for chunk in received for c in chunk.choices)


async def test_a_tool_call_streams_its_arguments_in_fragments(openai_client: openai.AsyncOpenAI) -> None:
    stream = await openai_client.chat.completions.create(
        model="m", messages=HELLO, tools=TOOLS, stream=True, stream_options={"include_usage": True}, extra_headers=script("echo")
    )
    received = await chunks(stream)
    calls = [call for chunk in received for c in chunk.choices for call in c.delta.tool_calls or ()]
    arguments = "".join(call.function.arguments or "" for call in calls if call.function)
    assert calls[0].function is not None and calls[0].function.name == "note"
    assert json.loads(arguments) == {"text": "My address is ada@example.com", "copies": 7, "when": "now"}
    assert received[-1].usage is not None
    assert received[-1].usage.completion_tokens == words.count("note") + words.count(arguments)
    assert received[-2].choices[0].finish_reason == "tool_calls"


async def test_a_tool_call_comes_whole_and_its_result_is_answered_in_words(openai_client: openai.AsyncOpenAI) -> None:
    first = await openai_client.chat.completions.create(model="m", messages=HELLO, tools=TOOLS)
    call = (first.choices[0].message.tool_calls or [])[0]
    assert call.type == "function" and json.loads(call.function.arguments)["copies"] == 7
    followed: list[ChatCompletionMessageParam] = [
        *HELLO,
        {"role": "assistant", "tool_calls": [{"id": call.id, "type": "function", "function": {"name": "note", "arguments": "{}"}}]},
        {"role": "tool", "tool_call_id": call.id, "content": "done"},
    ]
    second = await openai_client.chat.completions.create(model="m", messages=followed, tools=TOOLS)
    assert second.choices[0].finish_reason == "stop" and second.choices[0].message.content


async def test_reasoning_comes_before_the_answer_and_is_counted(openai_client: openai.AsyncOpenAI) -> None:
    answer = await openai_client.chat.completions.create(model="m", messages=HELLO, extra_headers=script("reasoning=6 tokens=2"))
    assert answer.usage is not None and answer.usage.completion_tokens_details is not None
    assert (answer.usage.completion_tokens, answer.usage.completion_tokens_details.reasoning_tokens) == (8, 6)
    assert words.count(str(answer.choices[0].message.model_extra["reasoning_content"])) == 6  # type: ignore[index]


async def test_usage_can_be_dropped(openai_client: openai.AsyncOpenAI) -> None:
    answer = await openai_client.chat.completions.create(model="m", messages=HELLO, extra_headers=script("usage=false"))
    assert answer.usage is None


@pytest.mark.parametrize(("status", "kind"), [(500, openai.InternalServerError), (429, openai.RateLimitError)])
async def test_a_failure_is_an_api_error(
    openai_client: openai.AsyncOpenAI, pool: SimulatedPool, status: int, kind: type[openai.APIStatusError]
) -> None:
    with pytest.raises(kind) as caught:
        await openai_client.chat.completions.create(model="m", messages=HELLO, extra_headers=script(f"fail={status}"))
    assert caught.value.body == {"message": "simulated failure", "type": caught.value.type, "param": None, "code": None}
    assert (pool.books.entries[-1].outcome, pool.books.completion_tokens) == (Outcome.REFUSED, 0)


async def test_a_stream_that_dies_breaks_off(openai_client: openai.AsyncOpenAI, pool: SimulatedPool) -> None:
    stream = await openai_client.chat.completions.create(model="m", messages=HELLO, stream=True, extra_headers=script("die=3"))
    received: list[ChatCompletionChunk] = []
    with pytest.raises(openai.APIConnectionError):
        async for chunk in stream:
            received.append(chunk)
    assert words.count(text(received)) == 3
    await pool.books.until(lambda books: not books.running)
    assert (pool.books.entries[-1].outcome, pool.books.completion_tokens) == (Outcome.CUT, 3)


async def test_a_completion_answers_every_prompt(openai_client: openai.AsyncOpenAI) -> None:
    answer = await openai_client.completions.create(model="m", prompt=["water", "stone wheel"], max_tokens=3)
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (3, 6)
    assert [choice.finish_reason for choice in answer.choices] == ["length", "length"]


async def test_a_completion_streams(openai_client: openai.AsyncOpenAI) -> None:
    stream = await openai_client.completions.create(
        model="m", prompt=[1, 2, 3], stream=True, stream_options={"include_usage": True}
    )
    received = [chunk async for chunk in stream]
    assert words.count("".join(c.text for chunk in received for c in chunk.choices)) == 16
    assert received[-1].usage is not None
    assert (received[-1].usage.prompt_tokens, received[-1].usage.completion_tokens) == (3, 16)


async def test_embeddings_differ_by_text_and_count_the_prompt(openai_client: openai.AsyncOpenAI) -> None:
    answer = await openai_client.embeddings.create(model="e", input=["water", "stone wheel"], dimensions=4)
    assert answer.usage.prompt_tokens == 3
    assert [len(one.embedding) for one in answer.data] == [4, 4]
    assert answer.data[0].embedding != answer.data[1].embedding
    plain = await openai_client.embeddings.create(model="e", input="water", dimensions=4, encoding_format="float")
    assert plain.data[0].embedding == pytest.approx(answer.data[0].embedding)


async def test_a_response_has_the_text_its_usage_counts(openai_client: openai.AsyncOpenAI) -> None:
    answer = await openai_client.responses.create(model="m", input="Hello", instructions="Be brief", max_output_tokens=5)
    assert answer.usage is not None
    assert words.count(answer.output_text) == answer.usage.output_tokens == 5
    assert answer.usage.input_tokens == (3 + 1 + words.count("Be brief")) + (3 + 1 + 1) + 3
    assert answer.status == "incomplete"


async def test_a_response_streams_its_events_in_order(openai_client: openai.AsyncOpenAI) -> None:
    async with openai_client.responses.stream(model="m", input="Hello there", extra_headers=script("echo")) as stream:
        seen = [event async for event in stream]
        final = await stream.get_final_response()
    assert [event.sequence_number for event in seen] == list(range(len(seen)))
    assert final.output_text == "Hello there"
    assert final.usage is not None and final.usage.output_tokens == 2


async def test_a_response_calls_a_function(openai_client: openai.AsyncOpenAI) -> None:
    async with openai_client.responses.stream(
        model="m", input="Hello", tools=RESPONSE_TOOLS, extra_headers=script("echo reasoning=9")
    ) as stream:
        async for _ in stream:
            pass
        final = await stream.get_final_response()
    call = final.output[0]
    assert isinstance(call, ResponseFunctionToolCall)
    assert json.loads(call.arguments) == {"text": "Hello", "copies": 7, "when": "now"}
    assert final.usage is not None and final.usage.output_tokens == words.count("note") + words.count(call.arguments)


async def test_the_models_are_listed(openai_client: openai.AsyncOpenAI) -> None:
    assert [model.id async for model in openai_client.models.list()] == ["llama-3.3-70b", "tiny"]
