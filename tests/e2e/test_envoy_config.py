"""The rendered configuration through real Envoy: routing, headers, and usage that arrives in the access log."""

import gzip
import json
import re
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from headrace.ext_proc.envoy.config.document import parse
from headrace.ext_proc.envoy.config.patch import Attachment, patch
from headrace.ext_proc.envoy.config.settings import GatewaySettings
from tests.e2e.gateway import Gateway, running_gateway
from tests.envoy.config.samples import EDGE
from tests.envoy.stub_service import Decision, metadata
from tests.envoy.stub_upstream import Received, Reply

pytestmark = pytest.mark.e2e

CHAT = {
    "prompt_tokens": 10,
    "completion_tokens": 5,
    "prompt_tokens_details": {"cached_tokens": 3},
    "completion_tokens_details": {"reasoning_tokens": 2},
}
RESPONSES = {
    "input_tokens": 10,
    "output_tokens": 5,
    "input_tokens_details": {"cached_tokens": 3},
    "output_tokens_details": {"reasoning_tokens": 2},
}
CHAT_READ = {"prompt_tokens": 10, "completion_tokens": 5, "cached_tokens": 3, "reasoning_tokens": 2}
RESPONSES_READ = {"input_tokens": 10, "output_tokens": 5, "cached_tokens": 3, "reasoning_tokens": 2}
MESSAGES = {"input_tokens": 10, "output_tokens": 5, "cache_read_input_tokens": 7, "cache_creation_input_tokens": 1}
PATH = "/v1/chat/completions"


@pytest.fixture
async def gateway() -> AsyncIterator[Gateway]:
    async with running_gateway() as running:
        yield running


def answer_whole(gateway: Gateway, body: bytes, content_type: str = "application/json", **headers: str) -> None:
    async def answer(_: Received, reply: Reply) -> None:
        await reply.whole(body, content_type, **headers)

    gateway.standard.answer = answer


def answer_events(gateway: Gateway, events: Sequence[bytes]) -> None:
    async def answer(_: Received, reply: Reply) -> None:
        await reply.begin()
        for event in events:
            await reply.send(event)
        await reply.end()

    gateway.standard.answer = answer


def event(document: Any) -> bytes:
    return b"data: " + json.dumps(document).encode() + b"\n\n"


async def usage_read(gateway: Gateway) -> dict[str, Any]:
    """What the access log says about one request."""
    exchange = gateway.decide()
    answer = await gateway.client.post(PATH, json={})
    assert answer.status_code == 200
    return metadata(await gateway.service.logged(exchange), "headrace.usage")


async def test_the_header_of_the_service_chooses_the_upstream_and_stays_inside(gateway: Gateway) -> None:
    gateway.decide(route="large")
    answer = await gateway.client.post(PATH, json={"q": 1})
    assert answer.json() == {"upstream": "large"}
    [received] = gateway.large.received
    assert received.path == f"/pool{PATH}"
    assert received.body == b'{"q":1}'
    assert received.headers["host"] == gateway.large.url.removeprefix("http://")
    assert not [name for name in received.headers if name.startswith(("x-headrace-", "x-envoy-"))]


async def test_without_a_decision_the_first_upstream_answers(gateway: Gateway) -> None:
    gateway.decide(settle=False)
    answer = await gateway.client.get("/v1/models")
    assert answer.json() == {"upstream": "standard"}
    assert gateway.service.seen[0].initial_metadata["headrace-capabilities"] == "access-log,mode-override"


async def test_a_client_cannot_choose_a_pool_even_when_the_service_keeps_the_route(gateway: Gateway) -> None:
    gateway.service.decide = lambda seen: Decision(clear_route_cache=False)
    answer = await gateway.client.get("/v1/models", headers={"X-Headrace-Route": "large", "x-headrace-else": "1"})
    assert answer.json() == {"upstream": "standard"}
    assert not [name for name in gateway.service.seen[0].headers if name.startswith("x-headrace-")]


async def test_a_decision_for_an_unknown_upstream_is_refused_and_not_sent_elsewhere(gateway: Gateway) -> None:
    gateway.decide(route="nowhere")
    answer = await gateway.client.post(PATH, json={})
    assert answer.status_code == 503
    assert answer.json()["error"]["code"] == "route.unknown_upstream"
    assert not gateway.standard.received + gateway.large.received


async def test_response_headers_come_from_the_metadata_and_only_where_it_has_them(gateway: Gateway) -> None:
    exchange = gateway.decide(reason="pool.size", ratelimit_limit_tokens="200000", ratelimit_reset_tokens="6m0s")
    answer_whole(gateway, b"{}", x_ratelimit_limit_tokens="7", x_ratelimit_limit_requests="8")
    answer = await gateway.client.post(PATH, json={})
    ours = {name: value for name, value in answer.headers.items() if name.startswith("x-")}
    assert ours == {
        "x-headrace-exchange": exchange,
        "x-headrace-reason": "pool.size",
        "x-ratelimit-limit-tokens": "200000",
        "x-ratelimit-reset-tokens": "6m0s",
        "x-ratelimit-limit-requests": "8",
    }


@pytest.mark.parametrize(
    ("usage", "read"),
    [(CHAT, CHAT_READ), (RESPONSES, RESPONSES_READ), (MESSAGES, MESSAGES), (None, {})],
    ids=["chat", "responses", "anthropic", "null"],
)
@pytest.mark.parametrize("content_type", ["application/json", "application/json; charset=utf-8", "Application/JSON"])
async def test_usage_of_a_json_answer_arrives_in_the_access_log(
    gateway: Gateway, usage: Any, read: dict[str, Any], content_type: str
) -> None:
    answer_whole(gateway, json.dumps({"id": "1", "usage": usage}).encode(), content_type)
    assert await usage_read(gateway) == read


LONG = "x" * 100_000
STREAMS = {
    "chat": (
        [
            event({"choices": [{"delta": {"content": "a"}}], "usage": None}),
            event({"choices": [], "usage": CHAT}),
            b"data: [DONE]\n\n",
        ],
        CHAT_READ,
    ),
    "responses": (
        [
            b"event: response.created\n" + event({"type": "response.created", "response": {"usage": None}}),
            b"event: response.completed\n"
            + event({"type": "response.completed", "response": {"output": LONG, "usage": RESPONSES}}),
        ],
        RESPONSES_READ,
    ),
    "anthropic": (
        [
            event({"type": "message_start", "message": {"usage": {**MESSAGES, "output_tokens": 1}}}),
            event({"type": "content_block_delta", "delta": {"text": "a"}}),
            event({"type": "message_delta", "usage": {"output_tokens": 5}}),
        ],
        MESSAGES,
    ),
    "comments": ([b": ping\n\n", b"\n", event({"usage": {"prompt_tokens": 10}})], {"prompt_tokens": 10}),
}


@pytest.mark.parametrize("name", STREAMS)
async def test_usage_of_a_stream_arrives_in_the_access_log(gateway: Gateway, name: str) -> None:
    events, read = STREAMS[name]
    answer_events(gateway, events)
    assert await usage_read(gateway) == read


async def test_a_large_number_in_the_metadata_is_no_header_to_read(gateway: Gateway) -> None:
    gateway.decide(ratelimit_limit_tokens=200_000)
    answer = await gateway.client.post(PATH, json={})
    assert answer.headers["x-ratelimit-limit-tokens"] == "2e+05"  # so the service sends strings


async def test_a_client_that_hangs_up_leaves_the_last_usage_of_the_stream(gateway: Gateway) -> None:
    async def answer(_: Received, reply: Reply) -> None:
        await reply.begin()
        for tokens in range(3):
            await reply.send(event({"usage": {"prompt_tokens": 9, "completion_tokens": tokens}}))
        await reply.gone()

    gateway.standard.answer = answer
    exchange = gateway.decide()
    received = b""
    async with gateway.client.stream("POST", PATH, json={}) as stream:
        async for chunk in stream.aiter_bytes():
            received += chunk
            if received.count(b"\n\n") == 3:
                break
    entry = await gateway.service.logged(exchange)
    assert metadata(entry, "headrace.usage") == {"prompt_tokens": 9, "completion_tokens": 2}
    assert entry.common_properties and entry.common_properties.response_flags
    assert entry.common_properties.response_flags.downstream_connection_termination


async def test_a_compressed_answer_has_no_readable_usage_and_passes_untouched(gateway: Gateway) -> None:
    packed = gzip.compress(json.dumps({"usage": CHAT}).encode())
    answer_whole(gateway, packed, content_encoding="gzip")
    assert await usage_read(gateway) == {}


async def test_answers_that_are_not_settled_are_neither_buffered_nor_parsed(gateway: Gateway) -> None:
    # Envoy 1.40's sse_to_metadata ends with a segmentation fault at a scalar, its json_to_metadata with a 500 over the limit.
    gateway.decide(settle=False)
    answer_events(gateway, [b"data: 5\n\n", b"data: null\n\n"])
    assert (await gateway.client.post("/tail", json={})).content == b"data: 5\n\ndata: null\n\n"
    answer_whole(gateway, b'"' + b"x" * (17 << 20) + b'"')
    assert len((await gateway.client.post("/large", json={})).content) == (17 << 20) + 2


async def test_an_answer_that_comes_before_the_service_has_closed_is_not_lost(gateway: Gateway) -> None:
    gateway.decide()
    answer_whole(gateway, b'{"quick": true}')
    bodies = [(await gateway.client.post(PATH, json={})).content for _ in range(50)]
    assert set(bodies) == {b'{"quick": true}'}


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_the_service_gets_the_answer_where_it_asks_for_it(gateway: Gateway, method: str) -> None:
    gateway.decide()
    gateway.service.inspects = True
    answer_events(gateway, [event({"n": 1}), event({"usage": CHAT})])
    answer = await gateway.client.request(method, PATH, content=b"{}" if method == "POST" else None)
    assert answer.content == event({"n": 1}) + event({"usage": CHAT})
    (kind, (headers, attributes)), *bodies = gateway.service.answers
    assert (kind, headers["content-type"]) == ("headers", "text/event-stream")
    assert attributes["envoy.filters.http.ext_proc"].to_dict() == {"response.code_details": "via_upstream"}
    assert b"".join(data for _, data in bodies) == answer.content


async def test_a_prompt_of_sixteen_mebibytes_passes_and_a_larger_one_does_not(gateway: Gateway) -> None:
    gateway.decide()
    assert (await gateway.client.post(PATH, content=b"x" * (16 << 20))).status_code == 200
    assert len(gateway.standard.received[-1].body) == 16 << 20
    assert (await gateway.client.post(PATH, content=b"x" * ((16 << 20) + 70_000))).status_code == 413


async def test_an_edit_that_envoy_does_not_allow_is_no_silent_success(gateway: Gateway) -> None:
    gateway.service.decide = lambda seen: Decision(edits={"host": "elsewhere"})
    assert (await gateway.client.post(PATH, json={})).status_code == 500
    assert not gateway.standard.received


async def test_without_the_service_there_is_no_answer(gateway: Gateway) -> None:
    await gateway.service.stop()
    assert (await gateway.client.post(PATH, json={})).status_code == 500
    assert not gateway.standard.received


def patched_edge(settings: GatewaySettings) -> str:
    """A bootstrap of somebody else's, patched, with the first upstream as its cluster."""
    port = str(settings.upstreams[0].address.port)
    document = parse(EDGE.replace("port_value: 9000", f"port_value: {port}").replace("name: edge ", "name: headrace "), "edge.yaml")
    patch(document, Attachment(settings.service))
    return re.sub(r"admin:\n.*\n", "", document.text())  # its port is the same for all


async def test_a_patched_bootstrap_settles_and_keeps_what_is_ours_inside() -> None:
    async with running_gateway(patched_edge) as gateway:
        answer_whole(gateway, json.dumps({"usage": CHAT, "text": LONG}).encode())
        exchange = gateway.decide(route="large", reason="pool.size")
        answer = await gateway.client.post(PATH, json={}, headers={"accept-encoding": "gzip", "x-headrace-else": "1"})
        assert (answer.headers["x-headrace-exchange"], answer.headers["content-encoding"]) == (exchange, "gzip")
        assert metadata(await gateway.service.logged(exchange), "headrace.usage") == CHAT_READ
        [received] = gateway.standard.received
        assert not [name for name in received.headers if name.startswith("x-headrace-")]
