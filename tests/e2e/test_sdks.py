"""The official SDKs through the whole path: they read what they expect, personal data comes back to them and goes no further."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

import anthropic
import openai
import pytest
from anthropic import AsyncAnthropic
from anthropic.types import MessageParam, ToolParam, ToolUseBlock
from openai import AsyncOpenAI
from openai.types.chat import ChatCompletionChunk, ChatCompletionMessageParam, ChatCompletionToolParam
from openai.types.responses import FunctionToolParam, ResponseFunctionToolCall

from tests.e2e.site import MODEL, Caller, Site, chat

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module")]

SECRETS = ("ada.lovelace@example.org", "4111 1111 1111 1111", "192.168.17.4")
SAID = 'Write to {} (card {}), from "home" at {};\n\tünïcödé \N{WATER WAVE}!'.format(*SECRETS)
ECHO = {"x-simulate": "echo"}
SCHEMA: dict[str, object] = {"type": "object", "properties": {"text": {"type": "string"}}}
ASKED: list[ChatCompletionMessageParam] = [{"role": "system", "content": "Repeat."}, {"role": "user", "content": SAID}]
CLAUDE_ASKED: list[MessageParam] = [{"role": "user", "content": [{"type": "text", "text": SAID}]}]
TOOLS: list[ChatCompletionToolParam] = [{"type": "function", "function": {"name": "note", "parameters": SCHEMA}}]
RESPONSE_TOOLS: list[FunctionToolParam] = [{"type": "function", "name": "note", "parameters": SCHEMA, "strict": False}]
CLAUDE_TOOLS: list[ToolParam] = [{"name": "note", "input_schema": SCHEMA}]
CAP = 300

Say = Callable[[AsyncOpenAI], Awaitable[str]]
ClaudeSay = Callable[[AsyncAnthropic], Awaitable[str]]


async def chat_whole(client: AsyncOpenAI) -> str:
    answer = await client.chat.completions.create(model=MODEL, messages=ASKED, max_tokens=CAP, extra_headers=ECHO)
    assert answer.usage is not None
    return answer.choices[0].message.content or ""


async def chat_stream(client: AsyncOpenAI) -> str:
    chunks = [chunk async for chunk in await streamed(client)]
    assert not any(chunk.usage for chunk in chunks)  # it did not ask for usage
    assert chunks[-1].choices[0].finish_reason == "stop"
    return "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)


async def chat_stream_with_usage(client: AsyncOpenAI) -> str:
    chunks = [chunk async for chunk in await streamed(client, stream_options={"include_usage": True})]
    usage = chunks[-1].usage
    assert usage is not None and usage.completion_tokens > 0
    return "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)


async def streamed(client: AsyncOpenAI, **more: Any) -> AsyncIterator[ChatCompletionChunk]:
    stream: AsyncIterator[ChatCompletionChunk] = await client.chat.completions.create(
        model=MODEL, messages=ASKED, max_tokens=CAP, stream=True, extra_headers=ECHO, **more
    )
    return stream


async def chat_choices(client: AsyncOpenAI) -> str:
    """Three answers side by side in one stream."""
    said = ["", "", ""]
    async for chunk in await streamed(client, n=3):
        for choice in chunk.choices:
            said[choice.index] += choice.delta.content or ""
    assert said[0] == said[1] == said[2]
    return said[0]


async def chat_tool(client: AsyncOpenAI) -> str:
    answer = await client.chat.completions.create(model=MODEL, messages=ASKED, tools=TOOLS, max_tokens=CAP, extra_headers=ECHO)
    [call] = answer.choices[0].message.tool_calls or []
    assert call.type == "function"
    return str(json.loads(call.function.arguments)["text"])


async def chat_tool_stream(client: AsyncOpenAI) -> str:
    arguments = ""
    async for chunk in await streamed(client, tools=TOOLS):
        for choice in chunk.choices:
            for call in choice.delta.tool_calls or ():
                arguments += call.function.arguments or "" if call.function else ""
    return str(json.loads(arguments)["text"])


async def response_whole(client: AsyncOpenAI) -> str:
    answer = await client.responses.create(model=MODEL, input=SAID, max_output_tokens=CAP, extra_headers=ECHO)
    return answer.output_text


async def response_stream(client: AsyncOpenAI) -> str:
    """The deltas and the whole answer that the last event repeats."""
    async with client.responses.stream(model=MODEL, input=SAID, max_output_tokens=CAP, extra_headers=ECHO) as stream:
        said = "".join([event.delta async for event in stream if event.type == "response.output_text.delta"])
        final = await stream.get_final_response()
    assert final.output_text == said
    return said


async def response_tool(client: AsyncOpenAI) -> str:
    answer = await client.responses.create(model=MODEL, input=SAID, tools=RESPONSE_TOOLS, max_output_tokens=CAP, extra_headers=ECHO)
    [call] = [item for item in answer.output if isinstance(item, ResponseFunctionToolCall)]
    return str(json.loads(call.arguments)["text"])


OPENAIS: Mapping[str, Say] = {
    say.__name__: say
    for say in (
        *(chat_whole, chat_stream, chat_stream_with_usage, chat_choices, chat_tool, chat_tool_stream),
        *(response_whole, response_stream, response_tool),
    )
}


async def message_whole(client: AsyncAnthropic) -> str:
    answer = await client.messages.create(model="claude-opus", max_tokens=CAP, messages=CLAUDE_ASKED, extra_headers=ECHO)
    [block] = answer.content
    assert block.type == "text"
    return block.text


async def message_stream(client: AsyncAnthropic) -> str:
    async with client.messages.stream(
        model="claude-opus", max_tokens=CAP, messages=CLAUDE_ASKED, system="Repeat.", extra_headers=ECHO
    ) as stream:
        said = "".join([text async for text in stream.text_stream])
        final = await stream.get_final_message()
    assert [block.text for block in final.content if block.type == "text"] == [said]
    assert final.usage.output_tokens > 0
    return said


async def message_tool(client: AsyncAnthropic) -> str:
    answer = await client.messages.create(
        model="claude-opus", max_tokens=CAP, messages=CLAUDE_ASKED, tools=CLAUDE_TOOLS, extra_headers=ECHO
    )
    return noted(answer.content)


async def message_tool_stream(client: AsyncAnthropic) -> str:
    async with client.messages.stream(
        model="claude-opus", max_tokens=CAP, messages=CLAUDE_ASKED, tools=CLAUDE_TOOLS, extra_headers=ECHO
    ) as stream:
        return noted((await stream.get_final_message()).content)


def noted(content: Any) -> str:
    [use] = [block for block in content if isinstance(block, ToolUseBlock)]
    called: Any = use.input
    return str(called["text"])


CLAUDES: Mapping[str, ClaudeSay] = {say.__name__: say for say in (message_whole, message_stream, message_tool, message_tool_stream)}


@pytest.mark.parametrize("say", OPENAIS.values(), ids=OPENAIS)
async def test_openais_clients_get_back_what_the_model_never_saw(site: Site, say: Say) -> None:
    caller = await site.caller()
    async with site.openai(caller) as client:
        assert await say(client) == SAID
    await assert_secrets_stayed_and_usage_is_right(site, caller)


@pytest.mark.parametrize("say", CLAUDES.values(), ids=CLAUDES)
async def test_anthropics_clients_get_back_what_the_model_never_saw(site: Site, say: ClaudeSay) -> None:
    caller = await site.caller()
    async with site.anthropic(caller) as client:
        assert await say(client) == SAID
    await assert_secrets_stayed_and_usage_is_right(site, caller)


async def assert_secrets_stayed_and_usage_is_right(site: Site, caller: Caller) -> None:
    entry = site.only_received
    told = json.dumps(json.loads(entry.body), ensure_ascii=False)
    assert not [secret for secret in SECRETS if secret in told]
    assert "<EMAIL_ADDRESS_" in told and "<CREDIT_CARD_" in told and "<IP_ADDRESS_" in told
    [decision] = await site.decisions(caller)
    await site.settled([decision["exchange"]])
    assert await site.spent(caller) == entry.prompt_tokens + entry.completion_tokens
    assert not [secret for secret in SECRETS if secret in site.stack.decisions_path.read_text()]
    assert not [secret for secret in SECRETS if secret in site.stack.service_log.read_text()]


async def test_embeddings_are_made_of_scrubbed_text(site: Site) -> None:
    caller = await site.caller()
    async with site.openai(caller) as client:
        answer = await client.embeddings.create(model="text-embedding-3-small", input=["hi", SAID])
    assert len(answer.data) == 2 and answer.data[0].embedding
    await assert_secrets_stayed_and_usage_is_right(site, caller)


async def test_a_conversation_has_the_same_placeholder_for_the_same_value(site: Site) -> None:
    """So that the model can follow it over several turns."""
    caller = await site.caller()
    async with site.openai(caller) as client:
        for _ in range(2):
            await client.chat.completions.create(model=MODEL, messages=ASKED, extra_headers=ECHO)
    first, second = site.received
    assert first.body == second.body


async def test_refusals_are_the_sdks_own_errors_and_are_not_retried(site: Site) -> None:
    before = await site.requests_seen()
    caller = await site.caller()
    stranger = Caller("nobody", "nobody", "hr-stranger")
    async with site.openai(caller) as client, site.openai(stranger) as unknown:
        with pytest.raises(openai.PermissionDeniedError) as denied:
            await client.chat.completions.create(**chat(model="gpt-9"))
        with pytest.raises(openai.AuthenticationError) as nobody:
            await unknown.chat.completions.create(**chat())
        with pytest.raises(openai.BadRequestError) as long:
            await client.chat.completions.create(**chat(max_tokens=200_000))
    assert (denied.value.code, denied.value.param) == ("model.not_allowed", "model")
    assert nobody.value.code == "auth.invalid"
    assert long.value.code == "context.exceeded"
    assert await site.requests_seen() == before + 3


async def test_a_count_of_tokens_is_for_known_callers_and_shows_no_server_personal_data(site: Site) -> None:
    caller = await site.caller()
    async with site.anthropic(caller) as client:
        counted = await client.messages.count_tokens(model=MODEL, messages=CLAUDE_ASKED)
    assert counted.input_tokens > 0
    [entry] = site.received
    assert entry.path == "/v1/messages/count_tokens"
    assert not any(secret in entry.body.decode() for secret in SECRETS)
    async with site.openai(caller) as other:
        assert (await other.responses.input_tokens.count(model=MODEL, input=SAID)).input_tokens > 0
    assert not any(secret in entry.body.decode() for entry in site.received for secret in SECRETS)
    async with site.anthropic(Caller("nobody", "nobody", "hr-stranger")) as stranger:
        with pytest.raises(anthropic.AuthenticationError):
            await stranger.messages.count_tokens(model=MODEL, messages=CLAUDE_ASKED)


async def test_refusals_are_anthropics_own_errors_too(site: Site) -> None:
    before = await site.requests_seen()
    async with site.anthropic(Caller("nobody", "nobody", "hr-stranger")) as client:
        with pytest.raises(anthropic.AuthenticationError) as caught:
            await client.messages.create(model="claude-opus", max_tokens=5, messages=CLAUDE_ASKED)
    body: Any = caught.value.body
    assert body["error"]["code"] == "auth.invalid"
    assert await site.requests_seen() == before + 1


async def test_a_long_prompt_goes_to_the_large_pool(site: Site) -> None:
    caller = await site.caller()
    async with site.openai(caller) as client:
        raw = await client.chat.completions.with_raw_response.create(**chat(" water" * 8200), max_tokens=5)
    assert raw.headers["x-headrace-route"] == "large"
    assert raw.headers["x-headrace-reason"] == "routing.prompt_size"
    assert [entry.prompt_tokens for entry in site.large.books.entries] == [8207]


async def test_the_list_of_models_passes(site: Site) -> None:
    async with site.openai(await site.caller()) as client:
        assert [model.id async for model in client.models.list()] == [MODEL]
