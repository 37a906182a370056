"""What Envoy refuses by itself, the callers' SDKs read as they read every other refusal."""

import asyncio
import contextlib
import json
from urllib.parse import urlsplit

import httpx
import openai
import pytest
from anthropic import APIStatusError, AsyncAnthropic
from openai import AsyncOpenAI

from tests.e2e.site import CHAT, MESSAGES, RESPONSES, WATCHED, Site, chain, chat, running_site
from tests.e2e.test_upstream_failures import closed_port

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module")]

MIB = 1 << 20
CLAUDE = {"model": "claude-opus-4", "max_tokens": 5}


def told(answer: httpx.Response) -> tuple[int, str, str]:
    """Status, type and code of an OpenAI error; the header must name the code, too."""
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-headrace-reason"] == error["code"]
    return answer.status_code, error["type"], error["code"]


async def test_a_body_over_the_limit(site: Site) -> None:
    caller = await site.caller()
    large = "a" * 17 * MIB
    assert told(await site.post(caller, chat(large))) == (413, "invalid_request_error", "body.too_large")
    answer = await site.client.post(
        MESSAGES, json=CLAUDE | {"messages": [{"role": "user", "content": large}]}, headers=caller.headers
    )
    message = "The request body is larger than this gateway accepts."
    error = {"type": "request_too_large", "message": message, "code": "body.too_large"}
    assert (answer.status_code, answer.json()["type"], answer.json()["error"]) == (413, "error", error)
    behind_a_prefix = await site.client.post(f"/anthropic{MESSAGES}?beta=true", content=large, headers=caller.headers)
    assert behind_a_prefix.json()["error"] == error


async def too_much(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A model server whose answers are larger than the gateway reads whole."""
    with contextlib.suppress(ConnectionError):
        await reader.readuntil(b"\r\n\r\n")
        head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {17 * MIB + 2}\r\n\r\n"
        writer.write(head.encode() + b'"' + b"a" * 17 * MIB + b'"')
        await writer.drain()
    writer.close()


async def test_an_answer_over_the_limit_is_asked_for_once() -> None:
    async with await asyncio.start_server(too_much, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with running_site(upstreams={"standard": f"http://127.0.0.1:{port}"}) as site:
            caller = await site.caller()
            answer = await site.post(caller, chat())
            assert told(answer) == (502, "server_error", "response.too_large")
            assert answer.headers["x-should-retry"] == "false"
            watched = await site.caller(WATCHED)
            for paying, answered in ((caller, answer), (watched, await site.post(watched, chat()))):
                assert (await site.settlement(answered))["outcome"] == "kept"
                assert await site.spent(paying) > 0
            claude = await site.client.post(
                MESSAGES, json=CLAUDE | {"messages": [{"role": "user", "content": "hi"}]}, headers=caller.headers
            )
            assert (claude.status_code, claude.json()["error"]["code"]) == (502, "response.too_large")


async def test_a_service_that_is_dead() -> None:
    async with running_site() as site:
        caller = await site.caller()
        await site.kill_service()
        assert told(await site.post(caller, chat())) == (500, "server_error", "gateway.unavailable")
        async with AsyncAnthropic(base_url=site.stack.url, api_key=caller.secret, max_retries=0) as claude:
            with pytest.raises(APIStatusError) as refused:
                await claude.messages.create(model="claude-opus-4", max_tokens=5, messages=[{"role": "user", "content": "hi"}])
        assert refused.value.status_code == 500
        assert isinstance(refused.value.body, dict) and refused.value.body["error"]["code"] == "gateway.unavailable"


async def test_a_service_that_dies_while_the_model_server_answers() -> None:
    """Nobody may say that the request was not sent on: it was, and it is paid for."""
    async with running_site(workers=2, filters=chain(pii={"response": "redact"})) as site:
        caller = await site.caller()
        asked = asyncio.create_task(site.post(caller, chat(), x_simulate="delay=2500"))
        await site.standard.books.until(lambda books: bool(books.running))
        for slot in site.stack.service.slots:
            await slot.kill()
        answer = await asked
        assert told(answer) == (500, "server_error", "gateway.unchecked")
        assert "not passed on" in answer.json()["error"]["message"]
        await site.pools_idle()
        assert await site.spent(caller) > 0


async def test_an_upstream_that_is_down_tells_its_exchange() -> None:
    with closed_port() as port:
        async with running_site(upstreams={"standard": f"http://127.0.0.1:{port}"}) as site:
            caller = await site.caller()
            async with AsyncOpenAI(base_url=f"{site.stack.url}/v1", api_key=caller.secret, max_retries=0) as sdk:
                with pytest.raises(openai.InternalServerError) as refused:
                    await sdk.chat.completions.create(model="llama-3.3-70b", messages=[{"role": "user", "content": "hi"}])
            assert (refused.value.code, refused.value.status_code) == ("upstream.unavailable", 503)
            claude = await site.client.post(
                MESSAGES, json=CLAUDE | {"messages": [{"role": "user", "content": "hi"}]}, headers=caller.headers
            )
            assert claude.json()["error"]["type"] == "overloaded_error"
            assert claude.json()["request_id"] == claude.headers["x-headrace-exchange"]
            assert claude.headers["x-headrace-reason"] == "upstream.unavailable", "and no longer the routing's"


async def test_a_websocket_is_refused_as_clients_that_speak_http_too_read_it(site: Site) -> None:
    """Codex falls back to POST after a 426 alone: after Envoy's 403 it tries seven times, after a 400 it gives up."""
    caller = await site.caller()
    upgrade = {
        "connection": "Upgrade",
        "upgrade": "websocket",
        "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
        "sec-websocket-version": "13",
    }
    answer = await site.client.get(RESPONSES, headers=caller.headers | upgrade)
    assert told(answer) == (426, "invalid_request_error", "body.websocket")
    assert answer.headers["x-should-retry"] == "false"


async def test_the_services_own_refusals_stay_as_they_are(site: Site) -> None:
    answer = await site.client.post(CHAT, json=chat(), headers={"authorization": "Bearer hr-nobody"})
    assert told(answer)[::2] == (401, "auth.invalid")
    caller = await site.caller()
    assert told(await site.post(caller, chat(model="gpt-unknown")))[2] == "model.not_allowed"


async def test_a_request_whose_headers_never_end(site: Site) -> None:
    """Whose path is not known, and so is answered as OpenAI would."""
    at = urlsplit(site.stack.url)
    reader, writer = await asyncio.open_connection(at.hostname, at.port)
    writer.write(b"POST /v1/messages HTTP/1.1\r\nhost: gateway\r\nx-a: ")
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    assert head.startswith(b"HTTP/1.1 408 ")
    assert b"\r\nx-headrace-reason: request.timeout" in head
    error = json.loads(body)["error"]
    assert (error["type"], error["code"]) == ("invalid_request_error", "request.timeout")
