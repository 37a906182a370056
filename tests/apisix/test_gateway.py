"""What the plugin adds to the protocol: who APISIX says calls, variables for its loggers, and the configurations it refuses."""

import asyncio
import json
import re
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from headrace.ext_proc.core.effects import Release, Settle
from headrace.ext_proc.core.usage import Usage
from headrace.ext_proc.envoy.access_log import METHOD, AccessLog
from headrace.ext_proc.envoy.health import Health
from headrace.ext_proc.envoy.services import methods
from headrace.ext_proc.envoy.transport import DEFAULT, Aborted, Call, Handler, Status, listen
from tests.apisix.nginx import missing, running_nginx
from tests.e2e.envoy_process import short_directory
from tests.envoy.stub_upstream import StubUpstream
from tests.transcripts.model import Request, Transcript, Turn, Upstream
from tests.transcripts.real_envoy import Stand
from tests.transcripts.site import WAIT, Site, until

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio, pytest.mark.skipif(bool(missing()), reason=missing())]

CHAT = {"model": "llama-3.3-70b", "messages": [{"role": "user", "content": "hi"}]}
USAGE = {"prompt_tokens": 8, "completion_tokens": 2}
POLICY = {
    "version": 1,
    "upstreams": {"standard": {"url": "http://127.0.0.1:9001"}},
    "models": [
        {"name": "llama-3.3-70b", "price": {"input": 1, "output": 1}, "pools": [{"upstream": "standard"}]},
        {"name": "gpt-4o", "pools": [{"upstream": "standard", "model": "gpt 4o eu"}]},
    ],
    "identity": [{"gateway": {}}],
    "filters": [{"identity": {}}, {"routing": {}}],
}
CONSUMER = {
    "consumer_name": "ada",
    "consumer_group_id": "research",
    "consumer": {"credential_id": "key-1", "labels": {"organisation": "acme", "app": "chat"}},
}
TURN = Turn(
    Request("POST", "/v1/chat/completions", {}, json.dumps(CHAT).encode()),
    Upstream(200, {}, json.dumps({"choices": [], "usage": USAGE}).encode(), None, None),
)


@dataclass
class Gateway:
    """nginx as APISIX, with the service in this process. `ai`: behind ai-proxy."""

    stand: Stand
    site: Site
    plain: httpx.AsyncClient
    ai: httpx.AsyncClient
    log: Path

    async def chat(self, *, ai: bool = True, headers: Mapping[str, str] | None = None) -> httpx.Response:
        client = self.ai if ai else self.plain
        return await client.post(TURN.request.path, content=TURN.request.body, headers=dict(headers or {}))

    @property
    def received(self) -> int:
        return sum(len(upstream.received) for upstream in self.stand.upstreams)

    async def principal(self) -> Any:
        await until(lambda: len(self.site.decisions) == 1, "the exchange to be closed")
        return self.site.decisions[0].members.get("principal")

    async def logged(self) -> Mapping[str, Any]:
        """What APISIX's loggers see."""
        await until(lambda: "logged: " in self.log.read_text(), "the log phase")
        found = re.search(r"logged: (.*?) end", self.log.read_text())
        assert found is not None
        document: Mapping[str, Any] = json.loads(found[1])
        return document


def caller(path: Path) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url="http://gateway", transport=httpx.AsyncHTTPTransport(uds=str(path)), timeout=WAIT)


@asynccontextmanager
async def gateway(
    folder: Path,
    *,
    stands: Mapping[str, Any],
    conf: Mapping[str, Any] | None = None,
    flush: str = "postpone_output 0;",
    log: Callable[[AccessLog], Handler] | None = None,
    policy: Mapping[str, Any] = POLICY,
    port: int | None = None,
) -> AsyncIterator[Gateway]:
    """stands: what APISIX has put into the request's context. log: makes the access log's handler. port: of another upstream."""
    stand = Stand()
    async with AsyncExitStack() as stack:
        sockets = stack.enter_context(short_directory())
        upstream = await stack.enter_async_context(StubUpstream("standard"))
        stand.upstreams = [upstream]
        stand.site = await stack.enter_async_context(Site(Transcript("x", policy, (), TURN, {}), folder))
        logged = AccessLog(stand.submit)
        served = {**methods(stand.processor(), logged, Health(lambda: True)), **({METHOD: log(logged)} if log else {})}
        server = listen(DEFAULT, served, f"unix:{sockets}/w.sock")
        await server.start()
        stack.push_async_callback(server.stop, 0)
        upstream.answer = lambda _, reply: reply.whole(TURN.upstream.body)
        servers = {"standard": ("127.0.0.1", port or httpx.URL(upstream.url).port or 80)}
        settings = {"service": [f"unix:{sockets}/w.sock"], **(conf or {})}
        nginx = await stack.enter_async_context(running_nginx(sockets, settings, servers, stands, flush))
        plain, ai = [await stack.enter_async_context(caller(path)) for path in (nginx.plain, nginx.ai)]
        yield Gateway(stand, stand.site, plain, ai, nginx.log)


async def test_a_consumer_of_apisix_is_the_principal(tmp_path: Path) -> None:
    async with gateway(tmp_path, stands=CONSUMER) as it:
        assert (await it.chat()).status_code == 200
        assert await it.principal() == {
            "organisation": "acme", "team": "research", "app": "chat", "user": "ada", "key": "key-1"
        }  # fmt: skip


async def test_a_label_names_the_team_before_the_group_does(tmp_path: Path) -> None:
    stands = {**CONSUMER, "consumer": {"labels": {"team": "blue"}}}
    async with gateway(tmp_path, stands=stands) as it:
        assert (await it.chat()).status_code == 200
        assert await it.principal() == {"organisation": "default", "team": "blue", "user": "ada"}


@pytest.mark.parametrize("labels", [None, "team", {"team": 7, "app": {"a": 1}}])
async def test_labels_that_are_no_text_name_nothing(labels: Any, tmp_path: Path) -> None:
    stands = {"consumer_name": "ada", "consumer": {"labels": labels}}
    async with gateway(tmp_path, stands=stands) as it:
        assert (await it.chat()).status_code == 200
        assert await it.principal() == {"organisation": "default", "user": "ada"}


async def test_without_a_consumer_nobody_is_vouched_for(tmp_path: Path) -> None:
    async with gateway(tmp_path, stands={}) as it:
        answer = await it.chat(headers={"x-consumer-username": "ada", "headrace.identity": "ada"})
        assert (answer.status_code, answer.headers["x-headrace-reason"]) == (401, "auth.missing")
        assert it.received == 0


async def test_a_model_that_takes_the_place_of_azures_deployment_is_in_the_path(tmp_path: Path) -> None:
    async with gateway(tmp_path, stands=CONSUMER) as it:
        path = "/openai/deployments/gpt-4o/chat/completions?api-version=2024-10-21"
        assert (await it.plain.post(path, json=CHAT)).status_code == 200
        [received] = it.stand.upstreams[0].received
        assert received.path == path.replace("gpt-4o", "gpt%204o%20eu")
        assert json.loads(received.body)["model"] == "gpt 4o eu"


WEBSOCKET = {
    "connection": "Upgrade",
    "upgrade": "websocket",
    "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
    "sec-websocket-version": "13",
}


async def test_a_websocket_is_no_way_past_the_filters(tmp_path: Path) -> None:
    """What asks for one is a GET without a body."""
    async with gateway(tmp_path, stands=CONSUMER) as it:
        refused = await it.plain.get("/v1/responses", headers=WEBSOCKET)
        assert (refused.status_code, refused.headers["x-headrace-reason"]) == (426, "body.websocket")
        assert it.received == 0
        assert (await it.plain.get("/v1/realtime", headers=WEBSOCKET)).status_code == 200


AI_PROXY_CALLS = [
    ("POST", "/anything"), ("POST", "/v1/chat/completion"), ("POST", "/v1/messages/count_tokens"), ("GET", "/v1/models"),
]  # fmt: skip


@pytest.mark.parametrize(("method", "path"), AI_PROXY_CALLS)
@pytest.mark.parametrize("request_only", [False, True])
async def test_a_path_that_names_no_call_is_no_way_past_the_filters(
    method: str, path: str, request_only: bool, tmp_path: Path
) -> None:
    """ai-proxy tells by the body what a request is, and calls the model by a path of its own."""
    async with gateway(tmp_path, stands=CONSUMER, conf={"request_only": request_only}) as it:
        answer = await it.ai.request(method, path, json=CHAT)
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "path.not_allowed")
        assert it.received == 0
        await until(lambda: len(it.site.decisions) == 1, "the exchange to be closed")
        assert it.site.decisions[0].members["outcome"] == "refused"
        assert (await it.plain.request(method, path, json=CHAT)).status_code == 200


@pytest.mark.parametrize("path", ["/v1/embeddings", "/v1/completions", "/v1/responses"])
async def test_a_chat_in_another_calls_body_is_refused(path: str, tmp_path: Path) -> None:
    """ai-proxy takes whatever has messages for a chat, whichever path it came by."""
    async with gateway(tmp_path, stands=CONSUMER) as it:
        answer = await it.ai.post(path, json={**CHAT, "input": "hi", "prompt": "hi"})
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, "messages")
        assert it.received == 0


async def test_a_body_that_comes_in_chunks_goes_on_whole(tmp_path: Path) -> None:
    """ai-proxy passes a caller's headers on, and the body as one."""

    async def pieces() -> AsyncIterator[bytes]:
        yield TURN.request.body[:9]
        yield TURN.request.body[9:]

    async with gateway(tmp_path, stands=CONSUMER) as it:
        for client in (it.plain, it.ai):
            assert (await client.post(TURN.request.path, content=pieces())).status_code == 200
        received = it.stand.upstreams[0].received
        assert [one.headers.get("transfer-encoding") for one in received] == [None, None]
        assert [one.body for one in received] == [TURN.request.body] * 2


LOGS = ["exchange", "route", "reason", "organisation", "model", "ratelimit_limit_tokens"]


@pytest.mark.parametrize("ai", [False, True])
async def test_what_the_service_says_is_there_for_loggers(ai: bool, tmp_path: Path) -> None:
    async with gateway(tmp_path, stands={**CONSUMER, "logs": LOGS}) as it:
        answer = await it.chat(ai=ai)
        logged = await it.logged()
        assert logged == {
            "exchange": "e1",
            "route": "standard",
            "reason": answer.headers["x-headrace-reason"],
            "organisation": "acme",
            "model": "llama-3.3-70b",
        }


async def test_a_refusal_has_its_reason_for_loggers(tmp_path: Path) -> None:
    async with gateway(tmp_path, stands={"logs": LOGS}) as it:
        await it.chat()
        assert (await it.logged())["reason"] == "auth.missing"


GUARDED: dict[str, tuple[dict[str, Any], dict[str, Any], str, str]] = {
    "a global rule": ({"conf_type": "global_rule"}, {}, "postpone_output 0;", "put it on the routes"),
    "a global rule, request-only": (
        {"conf_type": "global_rule"},
        {"request_only": True},
        "postpone_output 0;",
        "put it on the routes",
    ),
    "an ai-proxy without a hook": ({"apisix_version": "3.13.0"}, {}, "postpone_output 0;", "take APISIX 3.16 or newer, or set req"),
    "an old APISIX": ({"apisix_version": "3.9.1"}, {}, "postpone_output 0;", "take APISIX 3.16 or newer"),
    "pieces held back": (
        {"apisix_version": "3.14.1"},
        {},
        "# postpone_output 0;",
        'set nginx_config.http_configuration_snippet: "post',
    ),
    "pieces held back, 3.15": ({"apisix_version": "3.15.0"}, {}, "postpone_output 1460;", "set nginx_config"),
    "a cache": ({"beside": ["ai-cache"]}, {}, "postpone_output 0;", "remove it from this route"),
}


@pytest.mark.parametrize(("stands", "conf", "flush", "words"), GUARDED.values(), ids=GUARDED)
async def test_a_configuration_that_lets_answers_pass_is_refused_with_the_mend(
    stands: dict[str, Any], conf: dict[str, Any], flush: str, words: str, tmp_path: Path
) -> None:
    """Also where everything may pass without the service: it is no outage."""
    allowed = {"failure_mode_allow": {"request": True, "response": True}}
    async with gateway(tmp_path, stands={**CONSUMER, **stands}, conf={**conf, **allowed}, flush=flush) as it:
        answer = await it.chat()
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "gateway.misconfigured")
        assert it.received == 0
        assert words in it.log.read_text()


FINE: dict[str, tuple[bool, dict[str, Any], dict[str, Any], str]] = {
    "a plain route on an old APISIX": (False, {"apisix_version": "3.9.1"}, {}, ""),
    "request-only on an old APISIX": (True, {"apisix_version": "3.12.0"}, {"request_only": True}, ""),
    "3.14 that flushes": (True, {"apisix_version": "3.14.0"}, {}, "postpone_output 0;"),
    "3.16 by itself": (True, {"apisix_version": "3.16.0"}, {}, ""),
    "the next major version": (True, {"apisix_version": "4.0.0"}, {}, ""),
    "a route's own configuration": (True, {"conf_type": "route"}, {}, ""),
}


@pytest.mark.parametrize(("ai", "stands", "conf", "flush"), FINE.values(), ids=FINE)
async def test_others_are_served(ai: bool, stands: dict[str, Any], conf: dict[str, Any], flush: str, tmp_path: Path) -> None:
    async with gateway(tmp_path, stands={**CONSUMER, **stands}, conf=conf, flush=flush) as it:
        assert (await it.chat(ai=ai)).status_code == 200


class Flaky:
    """An access log that fails in one way and another before it takes anything."""

    def __init__(self) -> None:
        self.calls = 0

    def handler(self, logged: AccessLog) -> Handler:
        async def take(call: Call) -> None:
            self.calls += 1
            if self.calls == 1:
                raise Aborted(Status.UNAVAILABLE, "away")
            if self.calls == 2:
                return  # a clean end that says nothing
            while (data := await call.read()) is not None:
                logged.receive(data)
            await call.write(b"")

        return take


@pytest.mark.parametrize("ai", [False, True])
async def test_a_settlement_waits_for_a_service_that_is_away(ai: bool, tmp_path: Path) -> None:
    """What ai-proxy has read is settled; on a plain route there is nothing to read, and what was reserved stays."""
    flaky = Flaky()
    async with gateway(tmp_path, stands=CONSUMER, conf={"request_only": True}, log=flaky.handler) as it:
        assert (await it.chat(ai=ai)).status_code == 200
        await until(lambda: len(it.site.settled) == 1, "the settlement")
        (settled,) = it.site.settled
        assert isinstance(settled, Settle)
        assert settled.usage == (Usage(8, 2) if ai else None)
        assert flaky.calls == 3
        assert "settlements wait, the service has not taken them" in it.log.read_text()


LIMIT = {"name": "b", "per": ["team"], "limit": {"tokens": 100_000}, "window": "day"}
BUDGETED = POLICY | {"budgets": [LIMIT], "filters": [{"identity": {}}, {"budget": {}}, {"routing": {}}]}


async def test_what_no_upstream_has_had_is_not_charged(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    async with gateway(tmp_path, stands=CONSUMER, policy=BUDGETED, port=port) as it:
        answer = await it.chat(ai=False)
        assert (answer.status_code, answer.headers["x-headrace-reason"]) == (503, "upstream.unavailable")
        assert answer.json()["error"]["code"] == "upstream.unavailable"
        await until(lambda: len(it.site.settled) == 1, "the end")
        assert isinstance(it.site.settled[0], Release)


async def test_what_an_upstream_may_have_had_is_charged(tmp_path: Path) -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(hang_up, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with gateway(tmp_path, stands=CONSUMER, policy=BUDGETED, port=port) as it:
            assert (await it.chat(ai=False)).status_code == 503
            await until(lambda: len(it.site.settled) == 1, "the end")
            (settled,) = it.site.settled
            assert isinstance(settled, Settle) and settled.usage is None
