"""Methods and upgrades with which a call may be sent to a model server that does not mind them."""

import json
import re
from collections.abc import AsyncIterator

import httpx
import pytest
import pytest_asyncio

from headrace.ext_proc.envoy.config.document import parse
from headrace.ext_proc.envoy.config.patch import Attachment, patch
from headrace.ext_proc.envoy.config.settings import Address
from tests.e2e.envoy_process import running_envoy
from tests.e2e.site import CHAT, RESPONSES, Site, chat
from tests.envoy.config.samples import EDGE
from tests.envoy.stub_upstream import StubUpstream

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module")]

UPGRADES = "          upgrade_configs: [{upgrade_type: websocket}]\n          http_filters:\n"
WEBSOCKET = {
    "connection": "Upgrade",
    "upgrade": "WebSocket",
    "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
    "sec-websocket-version": "13",
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def upstream() -> AsyncIterator[StubUpstream]:
    """It answers whatever it is asked."""
    async with StubUpstream("any") as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def edge(module_site: Site, upstream: StubUpstream) -> AsyncIterator[str]:
    """The URL of an Envoy that allows WebSockets, and was then patched."""
    port = httpx.URL(upstream.url).port
    written = EDGE.replace("port_value: 9000", f"port_value: {port}").replace("          http_filters:\n", UPGRADES, 1)
    document = parse(written, "edge.yaml")
    patch(document, Attachment(tuple(Address.parse(address) for address in module_site.stack.service.addresses)))
    async with running_envoy(re.sub(r"admin:\n.*\n", "", document.text())) as envoy:
        yield f"http://127.0.0.1:{await envoy.port('edge')}"


async def send(url: str, method: str, path: str, body: bytes | None, headers: dict[str, str] | None = None) -> httpx.Response:
    """Over HTTP/2, where Envoy takes any word for a method. httpx writes methods in capitals."""
    async with httpx.AsyncClient(base_url=url, http1=False, http2=True, timeout=10) as client:
        request = client.build_request(method, path, content=body, headers=headers)
        request.method = method
        return await client.send(request)


@pytest.mark.parametrize("method", ["POST", "post", "PoST", "PUT", "PATCH", "CALL", "GET", "DELETE", "OPTIONS"])
async def test_no_method_is_a_way_past_the_filters(site: Site, edge: str, upstream: StubUpstream, method: str) -> None:
    upstream.received.clear()
    answer = await send(edge, method, CHAT, json.dumps(chat("hi")).encode())
    assert answer.status_code == 401, (answer.headers, answer.content)
    assert not upstream.received
    caller = await site.caller()
    answer = await send(edge, method, CHAT, json.dumps(chat("Write to ann.lee@example.org")).encode(), caller.headers)
    assert answer.status_code == 200
    [arrived] = upstream.received
    assert arrived.method == method
    assert b"ann.lee" not in arrived.body


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "DELETE"])
async def test_what_is_kept_at_a_calls_path_is_asked_for_as_on_other_paths(edge: str, upstream: StubUpstream, method: str) -> None:
    upstream.received.clear()
    assert (await send(edge, method, f"{CHAT}?limit=2", None)).status_code == 200
    assert [arrived.method for arrived in upstream.received] == [method]


async def test_a_websocket_is_no_way_past_the_filters(site: Site, edge: str, upstream: StubUpstream) -> None:
    upstream.received.clear()
    caller = await site.caller()
    async with httpx.AsyncClient(base_url=edge, timeout=10) as client:
        nobodys = await client.get(RESPONSES, headers=WEBSOCKET)
        somebodys = await client.get(RESPONSES, headers=WEBSOCKET | caller.headers)
    assert (nobodys.status_code, somebodys.status_code) == (401, 426)
    assert somebodys.json()["error"]["code"] == "body.websocket"
    assert not upstream.received
