"""Both SDKs against pools that speak the other one's API, through real Envoy."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import anthropic
import openai
import pytest
import pytest_asyncio
from openai.lib._parsing import type_to_response_format_param
from pydantic import BaseModel

from tests.e2e.site import CHAT, MESSAGES, Site, lean_chain, running_site

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module")]

KEYS = {"a.key": "key-of-anthropic\n", "o.key": "key-of-openai\n"}
TOOL = {"name": "look", "description": "Looks.", "input_schema": {"type": "object", "properties": {}}}
SAID: dict[str, Any] = {"model": "to-anthropic", "messages": [{"role": "user", "content": "hi"}]}
ASKED: dict[str, Any] = {"model": "to-openai", "max_tokens": 40, "messages": [{"role": "user", "content": "hi"}]}


class Place(BaseModel):
    town: str


def two_dialects(**failover: Any) -> dict[str, Any]:
    """`standard` takes Anthropic's API alone, `large` OpenAI's."""
    each = {"price": {"input": 1, "output": 2}, "max_output": 256}
    claude = [{"upstream": "standard", "model": "claude"}]
    models = [
        {"name": "to-anthropic", **each, "efforts": ["low", "medium", "high"], "pools": claude},
        {"name": "to-openai", **each, "efforts": ["none", "low", "high"], "pools": [{"upstream": "large"}]},
        {"name": "either", **each, "pools": [{"upstream": "standard"}, {"upstream": "large"}]},
    ]
    upstreams = {
        "standard": {"dialect": "anthropic", "api_key": {"file": "a.key"}},
        "large": {"dialect": "openai", "api_key": {"file": "o.key"}},
    }
    filters = lean_chain(routing={"failover": failover})
    return {"models": models, "filters": filters, "of_upstreams": upstreams, "files": KEYS}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def module_site() -> AsyncIterator[Site]:
    async with running_site(**two_dialects()) as running:
        yield running


async def test_openais_sdk_and_an_anthropic_pool(site: Site) -> None:
    caller = await site.caller()
    async with site.openai(caller) as client:
        answer = await client.chat.completions.create(**SAID, extra_headers={"x-simulate": "tokens=12"})
    entry = site.only_received
    assert (entry.path, json.loads(entry.body)["model"]) == (MESSAGES, "claude")
    assert (entry.header("x-api-key"), entry.header("authorization")) == ("key-of-anthropic", None)
    assert entry.header("anthropic-version") == "2023-06-01"
    assert answer.usage is not None
    assert answer.choices[0].message.content
    assert answer.usage.completion_tokens == entry.completion_tokens == 12
    assert await settled(site, caller, entry.prompt_tokens + 12)


async def settled(site: Site, caller: Any, tokens: int) -> bool:
    """The settlement is on its way when the answer has come."""
    [decision] = await site.decisions(caller)
    await site.settled([decision["exchange"]])
    return await site.spent(caller) == tokens


async def test_openais_sdk_streams_from_an_anthropic_pool(site: Site) -> None:
    caller = await site.caller()
    async with site.openai(caller) as client:
        stream = await client.chat.completions.create(**SAID, stream=True, extra_headers={"x-simulate": "tokens=9"})
        chunks = [chunk async for chunk in stream]
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text
    usage = chunks[-1].usage
    assert usage is not None
    assert usage.completion_tokens == site.only_received.completion_tokens == 9
    assert await settled(site, caller, usage.total_tokens)


async def test_openais_sdk_calls_a_tool_of_an_anthropic_model(site: Site) -> None:
    async with site.openai(await site.caller()) as client:
        tool = {"type": "function", "function": {"name": "look", "parameters": TOOL["input_schema"]}}
        asked: Any = SAID | {"tools": [tool]}
        answer: Any = await client.chat.completions.create(**asked)
        [call] = answer.choices[0].message.tool_calls
        assert call.function.name == "look"
        assert isinstance(json.loads(call.function.arguments), dict)
        stream: Any = await client.chat.completions.create(**asked, stream=True)
        deltas = [chunk.choices[0].delta async for chunk in stream if chunk.choices]
        calls = [call for delta in deltas for call in delta.tool_calls or ()]
        assert calls[0].function.name == "look"
        assert isinstance(json.loads("".join(call.function.arguments or "" for call in calls)), dict)


async def test_anthropics_sdk_and_an_openai_pool(site: Site) -> None:
    caller = await site.caller()
    async with site.anthropic(caller) as client:
        answer = await client.messages.create(**ASKED, extra_headers={"x-simulate": "tokens=12"})
    entry = site.only_received
    assert entry.path == CHAT
    assert (entry.header("authorization"), entry.header("x-api-key")) == ("Bearer key-of-openai", None)
    assert answer.content[0].type == "text"
    assert answer.usage.output_tokens == entry.completion_tokens == 12
    assert await settled(site, caller, entry.prompt_tokens + 12)


async def test_anthropics_sdk_streams_from_an_openai_pool(site: Site) -> None:
    caller = await site.caller()
    short = {"x-simulate": "tokens=9"}
    async with site.anthropic(caller) as client, client.messages.stream(**ASKED, extra_headers=short) as stream:
        text = "".join([word async for word in stream.text_stream])
        message = await stream.get_final_message()
    assert text
    assert message.stop_reason == "end_turn"
    assert message.usage.output_tokens == site.only_received.completion_tokens == 9


async def test_anthropics_sdk_calls_a_tool_of_an_openai_model(site: Site) -> None:
    tools: Any = [TOOL]
    async with site.anthropic(await site.caller()) as client, client.messages.stream(**ASKED, tools=tools) as stream:
        message = await stream.get_final_message()
    [block] = [block for block in message.content if block.type == "tool_use"]
    assert (block.name, isinstance(block.input, dict), message.stop_reason) == ("look", True, "tool_use")


async def test_an_effort_is_one_that_the_model_of_the_pool_takes(site: Site) -> None:
    caller = await site.caller()
    async with site.openai(caller) as client:
        await client.chat.completions.create(**SAID, reasoning_effort="xhigh")
        await client.chat.completions.create(**SAID | {"model": "either"}, reasoning_effort="high")
    async with site.anthropic(caller) as claude:
        await claude.messages.create(**ASKED, output_config={"effort": "medium"})
        await claude.messages.create(**ASKED, thinking={"type": "disabled"})
    highest, unknown, low, none = (json.loads(entry.body) for entry in site.received)
    assert highest["output_config"] == {"effort": "high"}
    assert "output_config" not in unknown
    assert (low["reasoning_effort"], none["reasoning_effort"]) == ("low", "none")


async def test_openais_sdk_parses_the_answer_of_an_anthropic_model(site: Site) -> None:
    async with site.openai(await site.caller()) as client:
        await client.chat.completions.create(**SAID, response_format=type_to_response_format_param(Place))
    asked = json.loads(site.only_received.body)["output_config"]["format"]
    assert (asked["type"], list(asked["schema"]["properties"])) == ("json_schema", ["town"])


async def test_anthropics_sdk_says_what_an_openai_model_need_not_know(site: Site) -> None:
    turns: Any = [*ASKED["messages"], {"role": "system", "content": "Be brief."}]
    edits: Any = {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]}
    async with site.anthropic(await site.caller()) as client:
        await client.beta.messages.create(**ASKED | {"messages": turns}, context_management=edits, speed="fast")
    asked = json.loads(site.only_received.body)
    assert asked["messages"] == turns
    assert not asked.keys() & {"context_management", "speed"}


async def test_an_error_is_in_the_callers_dialect(site: Site) -> None:
    failing = {"x-simulate": "fail=400"}
    async with site.openai(await site.caller()) as client:
        with pytest.raises(openai.BadRequestError) as ours:
            await client.chat.completions.create(**SAID, extra_headers=failing)
    body: Any = ours.value.body
    assert (body["type"], body["message"]) == ("invalid_request_error", "simulated failure")
    async with site.anthropic(await site.caller()) as claude:
        with pytest.raises(anthropic.BadRequestError) as theirs:
            await claude.messages.create(**ASKED, extra_headers=failing)
    error: Any = theirs.value.body
    assert (error["type"], error["error"]["type"]) == ("error", "invalid_request_error")


async def test_a_model_server_that_says_nothing_is_told_in_the_callers_dialect() -> None:
    """By Envoy, whose request has the path of the upstream's dialect by then."""
    async with running_site(**two_dialects(idle_timeout=0.5)) as site:
        caller = await site.caller()
        for model in ("to-anthropic", "to-openai"):
            chat = await site.post(caller, SAID | {"model": model}, x_simulate="delay=3000")
            assert (chat.status_code, chat.json()["error"]["code"], "type" in chat.json()) == (504, "upstream.timeout", False)
            message = await site.post(caller, ASKED | {"model": model}, MESSAGES, x_simulate="delay=3000")
            assert (message.status_code, message.json()["type"]) == (504, "error")
            assert message.json()["error"]["code"] == "upstream.timeout"


async def names_its_answers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A model server that speaks OpenAI's API, and says under which id it has a request."""
    head = await reader.readuntil(b"\r\n\r\n")
    await reader.readexactly(int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0]))
    said = json.dumps({"choices": [{"message": {"content": "hi"}, "finish_reason": "stop"}]}).encode()
    fields = f"content-type: application/json\r\nx-request-id: req_1\r\ncontent-length: {len(said)}\r\nconnection: close"
    writer.write(f"HTTP/1.1 200 OK\r\n{fields}\r\n\r\n".encode() + said)
    await writer.drain()
    writer.close()


async def test_anthropics_sdk_knows_an_openai_servers_id_of_the_request() -> None:
    async with await asyncio.start_server(names_its_answers, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with running_site(**two_dialects(), upstreams={"large": url}) as site:
            async with site.anthropic(await site.caller()) as client:
                answer = await client.messages.create(**ASKED)
            assert answer._request_id == "req_1"


async def test_what_the_other_api_has_not_is_refused_and_costs_nothing(site: Site) -> None:
    caller = await site.caller()
    async with site.openai(caller) as client:
        with pytest.raises(openai.BadRequestError, match="response_format"):
            await client.chat.completions.create(**SAID, response_format={"type": "json_object"})
    assert not site.received
    assert await settled(site, caller, 0)


async def test_a_pool_of_the_other_dialect_takes_over(site: Site) -> None:
    """The first attempt leaves its path and its credential in the headers; the second one has its own."""
    caller = await site.caller()
    body = SAID | {"model": "either"}
    async with site.anthropic(caller) as client:
        answer = await client.messages.create(**ASKED | {"model": "either"}, extra_headers={"x-simulate": "tokens=3"})
        assert answer.usage.output_tokens == 3
    [entry] = site.standard.books.entries
    assert entry.path == MESSAGES
    site.standard.books.clear()
    async with site.openai(caller) as sdk:
        with pytest.raises(openai.InternalServerError):
            await sdk.with_options(max_retries=0).chat.completions.create(**body, extra_headers={"x-simulate": "fail=500"})
    first, second = site.received
    assert (first.path, first.header("x-api-key"), first.header("authorization")) == (MESSAGES, "key-of-anthropic", None)
    assert (second.path, second.header("x-api-key"), second.header("authorization")) == (CHAT, None, "Bearer key-of-openai")
    assert json.loads(second.body)["messages"] == body["messages"]
