"""What comes with Headrace at a patched listener: callers of models read it as theirs, other callers read Envoy's words."""

from collections.abc import AsyncIterator, Mapping

import httpx
import pytest
import pytest_asyncio

from tests.e2e.gateway import Gateway, running_gateway
from tests.e2e.site import CHAT, MESSAGES, RESPONSES
from tests.e2e.test_envoy_config import patched_edge
from tests.e2e.test_local_replies import told
from tests.e2e.test_methods import WEBSOCKET

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module")]

TOO_LARGE = b"x" * (17 << 20)
LARGE = "The request body is larger than this gateway accepts."


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def edge() -> AsyncIterator[Gateway]:
    async with running_gateway(patched_edge) as running:
        yield running


def claude(answer: httpx.Response) -> Mapping[str, str]:
    document = answer.json()
    assert document["type"] == "error"
    return dict(document["error"])


async def test_a_body_over_the_limit(edge: Gateway) -> None:
    edge.decide()
    assert told(await edge.client.post(CHAT, content=TOO_LARGE)) == (413, "invalid_request_error", "body.too_large")
    error = claude(await edge.client.post(f"/proxy{MESSAGES}?beta=true", content=TOO_LARGE))
    assert error == {"type": "request_too_large", "message": LARGE, "code": "body.too_large"}
    other = await edge.client.post("/photos", content=TOO_LARGE)
    assert (other.status_code, other.text) == (413, "Payload Too Large")


async def test_a_websocket_where_none_are_allowed(edge: Gateway) -> None:
    assert told(await edge.client.get(RESPONSES, headers=WEBSOCKET)) == (426, "invalid_request_error", "body.websocket")
    other = await edge.client.get("/live", headers=WEBSOCKET)
    assert (other.status_code, other.text) == (403, "")


async def test_without_the_service() -> None:
    async with running_gateway(patched_edge) as edge:
        await edge.service.stop()
        assert told(await edge.client.post(CHAT, json={})) == (500, "server_error", "gateway.unavailable")
        assert claude(await edge.client.post(MESSAGES, json={}))["code"] == "gateway.unavailable"
        other = await edge.client.get("/orders")
        assert (other.status_code, other.text) == (500, "")
