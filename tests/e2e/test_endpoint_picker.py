"""The service as an endpoint picker: an Envoy as Gateway API gateways configure it, both ways of going to what was picked."""

import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from headrace.ext_proc.envoy.duplex import MAX_BODY
from tests.e2e.envoy_process import running_envoy, short_directory
from tests.e2e.served import serving
from tests.e2e.test_servers import Server
from tests.envoy.stub_upstream import Received, Reply, StubUpstream

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module")]

CHAT = {"model": "llama", "messages": [{"role": "user", "content": "hi"}]}
TYPE = "type.googleapis.com/envoy.extensions"
PICKED = "x-gateway-destination-endpoint"


def cluster(kind: str, servers: list[str]) -> dict[str, Any]:
    """original_dst: Envoy goes where the header says. override_host: to that one of the pool's endpoints."""
    common: dict[str, Any] = {"name": "pool", "connect_timeout": "1s"}
    if kind == "original_dst":
        lb = {"use_http_header": True, "http_header_name": PICKED}
        return common | {"type": "ORIGINAL_DST", "lb_policy": "CLUSTER_PROVIDED", "original_dst_lb_config": lb}
    addresses = [server.rpartition(":") for server in servers]
    endpoints = [
        {"endpoint": {"address": {"socket_address": {"address": host, "port_value": int(port)}}}} for host, _, port in addresses
    ]
    key = {"key": "envoy.lb", "path": [{"key": PICKED}]}
    served = {"key": "envoy.lb", "path": [{"key": f"{PICKED}-served"}]}
    spread = extension("envoy.load_balancing_policies.round_robin", "load_balancing_policies.round_robin.v3.RoundRobin")
    policy = extension(
        "envoy.load_balancing_policies.override_host",
        "load_balancing_policies.override_host.v3.OverrideHost",
        override_host_sources=[{"metadata": key}],
        selected_host_key=served,
        fallback_policy={"policies": [{"typed_extension_config": spread}]},
    )
    return common | {
        "type": "STATIC",
        "load_assignment": {"cluster_name": "pool", "endpoints": [{"lb_endpoints": endpoints}]},
        "load_balancing_policy": {"policies": [{"typed_extension_config": policy}]},
    }


def extension(name: str, kind: str, **config: Any) -> dict[str, Any]:
    return {"name": name, "typed_config": {"@type": f"{TYPE}.{kind}", **config}}


def bootstrap(picker: str, pool: dict[str, Any], subset: Any) -> str:
    """What a gateway of the Gateway API Inference Extension makes of an InferencePool: every body streamed both ways."""
    duplex = "FULL_DUPLEX_STREAMED"
    modes = {"request_header_mode": "SEND", "response_header_mode": "SEND", "request_body_mode": duplex,
             "response_body_mode": duplex, "request_trailer_mode": "SEND", "response_trailer_mode": "SEND"}  # fmt: skip
    processor = extension(
        "envoy.filters.http.ext_proc",
        "filters.http.ext_proc.v3.ExternalProcessor",
        grpc_service={"envoy_grpc": {"cluster_name": "picker"}},
        processing_mode=modes,
        message_timeout="5s",
        metadata_options={
            "receiving_namespaces": {"untyped": ["envoy.lb"]},
            "forwarding_namespaces": {"untyped": ["envoy.lb", "envoy.lb.subset_hint"]},
        },
    )
    hint = {"metadata_namespace": "envoy.lb.subset_hint", "value": {f"{PICKED}-subset": subset}}
    hints = [extension("envoy.filters.http.set_metadata", "filters.http.set_metadata.v3.Config", metadata=[hint])]
    router = extension("envoy.filters.http.router", "filters.http.router.v3.Router")
    manager = extension(
        "http",
        "filters.network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix="x",
        http_filters=[*(hints if subset is not None else []), processor, router],
        route_config={"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [
            {"match": {"prefix": "/"}, "route": {"cluster": "pool", "timeout": "0s"}}]}]},
    )  # fmt: skip
    http2 = extension("", "upstreams.http.v3.HttpProtocolOptions", explicit_http_config={"http2_protocol_options": {}})
    service = {
        "name": "picker",
        "type": "STATIC",
        "load_assignment": {"cluster_name": "picker", "endpoints": [{"lb_endpoints": [
            {"endpoint": {"address": {"pipe": {"path": picker}}}}]}]},
        "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": http2["typed_config"]},
    }  # fmt: skip
    listener = {"name": "headrace", "address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}},
                "filter_chains": [{"filters": [manager]}]}  # fmt: skip
    return json.dumps({"static_resources": {"listeners": [listener], "clusters": [pool, service]}})


@dataclass(frozen=True)
class Picked:
    client: httpx.AsyncClient
    one: Server
    two: Server


@contextlib.asynccontextmanager
async def picking(kind: str, subset: Any = None) -> AsyncIterator[Picked]:
    """subset: may name a server as {one} or {two}."""
    async with StubUpstream("one") as first, StubUpstream("two") as second:
        one, two = Server(first), Server(second)
        for server in (one, two):
            server.stub.answer = server.answer
        servers = [one.address, two.address]
        policy = {
            "version": 1,
            "upstreams": {"pool": {"url": "http://pool", "servers": servers, "metrics": "vllm", "max_queue": 2}},
            "models": [{"name": "llama", "price": {"input": 1, "output": 1}, "pools": [{"upstream": "pool"}]}],
            "filters": [{"routing": {}}],
        }
        named = json.loads(json.dumps(subset).replace("{one}", one.address).replace("{two}", two.address))
        with short_directory() as folder:
            async with serving(folder, json.dumps(policy), 1, ()) as (_, ready):
                text = bootstrap(ready["addresses"][0].removeprefix("unix:"), cluster(kind, servers), named)
                async with running_envoy(text) as envoy, _client(await envoy.port()) as client:
                    await one.say()
                    await two.say()
                    yield Picked(client, one, two)


def _client(port: int) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=20)


@pytest.mark.parametrize("kind", ["original_dst", "override_host"])
async def test_a_request_goes_to_the_server_that_was_picked(kind: str) -> None:
    async with picking(kind) as picked:
        await picked.one.say(waiting=2)
        for number in range(3):
            answer = await picked.client.post("/v1/chat/completions", json=CHAT | {"user": str(number)})
            assert answer.status_code == 200
            assert answer.json()["usage"] == {"prompt_tokens": 8, "completion_tokens": 1}
        assert (len(picked.one.chats), len(picked.two.chats)) == (0, 3)
        assert json.loads(picked.two.chats[0].body) == CHAT | {"user": "0"}
        await picked.two.say(waiting=3)
        await picked.one.say(waiting=3)
        answer = await picked.client.post("/v1/chat/completions", json=CHAT)
        assert (answer.status_code, answer.json()["error"]["code"]) == (429, "routing.busy")


@pytest.mark.parametrize(
    ("subset", "goes"),
    [(["{two} , 10.0.0.1", 7], True), ("10.0.0.9:1", False)],
)
async def test_no_other_server_is_picked_than_the_gateway_allows(subset: Any, goes: bool) -> None:
    async with picking("override_host", subset) as picked:
        answer = await picked.client.post("/v1/chat/completions", json=CHAT)
        if goes:
            assert (len(picked.one.chats), len(picked.two.chats)) == (0, 1)
        else:
            assert (answer.status_code, answer.json()["error"]["code"]) == (503, "routing.no_server")


async def test_a_stream_passes_event_by_event() -> None:
    async with picking("override_host", "{one}") as picked:

        async def stream(request: Received, reply: Reply) -> None:
            if request.path == "/metrics":
                await picked.one.answer(request, reply)
                return
            await reply.begin()
            for number in range(3):
                await reply.send(b'data: {"choices": [{"index": 0, "delta": {"content": "%d"}}]}\n\n' % number)
            await reply.send(b"data: [DONE]\n\n")
            await reply.end()

        picked.one.stub.answer = stream
        answer = await picked.client.post("/v1/chat/completions", json=CHAT | {"stream": True})
        assert answer.text.count("data: ") == 4
        assert json.loads(picked.one.chats[0].body)["stream_options"] == {"include_usage": True}


async def test_other_paths_pass_with_their_bodies() -> None:
    async with picking("override_host") as picked:
        answer = await picked.client.post("/v1/files", content=b"x" * 200_000)
        assert answer.status_code == 200
        [received] = [*picked.one.chats, *picked.two.chats]
        assert received.body == b"x" * 200_000


async def test_a_prompt_beyond_the_limit_is_refused_in_the_callers_dialect() -> None:
    """Also while the caller is still sending, and it does not take the gateway with it."""
    async with picking("override_host") as picked:
        prompt = b'{"model": "llama", "messages": [{"role": "user", "content": "' + b"x" * MAX_BODY + b'"}]}'
        answer = await picked.client.post("/v1/messages", content=prompt, headers={"anthropic-version": "2023-06-01"})
        assert (answer.status_code, answer.json()["error"]["type"]) == (413, "request_too_large")
        answer = await picked.client.post("/v1/chat/completions", json=CHAT)
        assert (answer.status_code, len(picked.one.chats) + len(picked.two.chats)) == (200, 1)
