"""Requests that APISIX ends before their answer comes by the plugin: the service hears of it, and charges nothing."""

import json
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from headrace.ext_proc.core.effects import Release, Settle
from tests.apisix.nginx import missing
from tests.apisix.test_gateway import BUDGETED, CHAT, CONSUMER, Gateway, gateway
from tests.transcripts.site import until

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio, pytest.mark.skipif(bool(missing()), reason=missing())]

MAIL = "ann.lee@example.org"
PII = {"pii": {"response": "redact", "restore": False, "entities": ["EMAIL_ADDRESS"], "model": "none"}}
POLICY = BUDGETED | {"filters": [{"identity": {}}, PII, {"budget": {}}, {"routing": {}}]}
REFUSAL = {"error": {"message": f"Too many requests of {MAIL}"}}


@asynccontextmanager
async def budgeted(
    folder: Path, port: int | None = None, policy: Mapping[str, Any] = POLICY, **stands: Any
) -> AsyncIterator[Gateway]:
    async with gateway(folder, stands=CONSUMER | stands, policy=policy, port=port) as it:
        yield it


async def settled(gateway: Gateway) -> Settle | Release:
    await until(lambda: len(gateway.site.settled) == 1, "the end")
    return gateway.site.settled[0]


def refuses(gateway: Gateway, status: int) -> None:
    async def answer(_: Any, reply: Any) -> None:
        reply.status = status
        await reply.whole(json.dumps(REFUSAL).encode())

    gateway.stand.upstreams[0].answer = answer


@pytest.mark.parametrize("status", [429, 500, 503, 529])
async def test_what_a_provider_refuses_behind_ai_proxy_is_read_and_not_charged(status: int, tmp_path: Path) -> None:
    """ai-proxy gives no plugin a 429 or 5xx: it ends the request with it."""
    async with budgeted(tmp_path) as it:
        refuses(it, status)
        answer = await it.chat()
        assert (answer.status_code, answer.headers["content-type"]) == (status, "application/json")
        assert answer.json()["error"]["message"] == "Too many requests of <EMAIL_ADDRESS>"
        assert isinstance(await settled(it), Release)
        [decision] = [one.members for one in it.site.decisions]
        assert (decision["outcome"], decision["status"]) == ("completed", status)


async def test_a_provider_that_ai_proxy_cannot_reach_is_not_charged_for(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    async with budgeted(tmp_path, port) as it:
        assert (await it.chat()).status_code == 500
        assert isinstance(await settled(it), Release)


async def test_a_route_without_a_server_is_not_charged_for(tmp_path: Path) -> None:
    model = {"name": CHAT["model"], "price": {"input": 1, "output": 1}, "pools": [{"upstream": "elsewhere"}]}
    policy = POLICY | {"models": [model], "upstreams": {"elsewhere": {"url": "http://127.0.0.1:9"}}}
    async with budgeted(tmp_path, policy=policy) as it:
        assert (await it.chat(ai=False)).status_code == 502
        assert isinstance(await settled(it), Release)


@pytest.mark.parametrize(("version", "told"), [("3.17.0", True), ("3.16.0", False)])
async def test_before_3_18_ai_proxy_drops_a_providers_words_and_before_3_17_tells_nobody(
    version: str, told: bool, tmp_path: Path
) -> None:
    """Where nobody is told what was reserved stays charged."""
    async with budgeted(tmp_path, apisix_version=version) as it:
        refuses(it, 429)
        answer = await it.chat()
        assert (answer.status_code, answer.headers["content-type"]) == (429, "text/html")
        effect = await settled(it)
        assert isinstance(effect, Release) if told else isinstance(effect, Settle) and effect.usage is None


@pytest.mark.parametrize("version", ["3.14.1", "3.16.0", "3.17.0", "3.18.0"])
async def test_a_stream_has_the_status_that_its_caller_gets(version: str, tmp_path: Path) -> None:
    """Before 3.18 ai-proxy begins it without one."""
    async with budgeted(tmp_path, apisix_version=version) as it:
        it.stand.upstreams[0].answer = lambda _, reply: reply.whole(b"data: [DONE]\n\n", "text/event-stream")
        assert (await it.chat()).status_code == 200
        await settled(it)
        [decision] = [one.members for one in it.site.decisions]
        assert decision["status"] == 200
