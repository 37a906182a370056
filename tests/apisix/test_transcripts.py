"""Every transcript through the Lua plugin, on a plain route and behind ai-proxy, against the service in this process."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from headrace.ext_proc.core.endpoint import endpoint_of
from headrace.ext_proc.envoy.access_log import AccessLog
from headrace.ext_proc.envoy.health import Health
from headrace.ext_proc.envoy.services import methods
from headrace.ext_proc.envoy.transport import DEFAULT, listen
from tests.apisix.nginx import missing, running_nginx
from tests.e2e.envoy_process import short_directory
from tests.envoy.stub_upstream import StubUpstream
from tests.transcripts.checks import check
from tests.transcripts.model import Transcript
from tests.transcripts.real_envoy import POOLS, Stand
from tests.transcripts.site import WAIT, Site
from tests.transcripts.test_transcripts import cases

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(bool(missing()), reason=missing()),
]


NOTHING_YET = b":\n\n"
"""The comment that stands for a piece the service holds back: ai-proxy takes an empty one for the stream's end."""


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["plain", "ai"])
async def stand(request: pytest.FixtureRequest) -> AsyncIterator[Stand]:
    stand = Stand(noise=NOTHING_YET)
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(short_directory())
        stand.upstreams = [await stack.enter_async_context(StubUpstream(name)) for name in POOLS]
        served = methods(stand.processor(), AccessLog(stand.submit), Health(lambda: True))
        server = listen(DEFAULT, served, f"unix:{folder}/w.sock")
        await server.start()
        stack.push_async_callback(server.stop, 0)
        servers = {upstream.name: ("127.0.0.1", httpx.URL(upstream.url).port or 80) for upstream in stand.upstreams}
        conf = {
            "service": [f"unix:{folder}/w.sock"],
            "message_timeout_ms": int(WAIT * 1000),
        }  # the first request waits for detectors
        nginx = await stack.enter_async_context(running_nginx(folder, conf, servers))
        route = httpx.AsyncHTTPTransport(uds=str(getattr(nginx, request.param)))
        stand.client = await stack.enter_async_context(httpx.AsyncClient(base_url="http://gateway", transport=route, timeout=WAIT))
        yield stand


def as_here(transcript: Transcript) -> Transcript:
    """What differs behind APISIX, in general: no access log tells the usage, so answers pass through the service; and usage that
    no budget is charged for is in the decision alone.
    """
    expect = dict(transcript.expect)
    asked = transcript.turn.request
    if expect.get("decision", {}).get("outcome") == "handed_off" and endpoint_of(asked.method, asked.path):
        expect["decision"] = {**expect["decision"], "outcome": "completed"}
    expect["settled"] = [effect for effect in expect.get("settled", ()) if effect.get("settle") != "nothing"]
    return replace(transcript, expect=expect)


@pytest.mark.parametrize(("transcript", "cut"), cases("apisix"))
async def test_through_the_plugin(transcript: Transcript, cut: int | None, tmp_path: Path, stand: Stand) -> None:
    async with Site(transcript, tmp_path) as site:
        stand.site = site
        for turn in transcript.before:
            await stand.play(turn, cut, settled=1)
            site.forget()
        expected = as_here(transcript)
        seen = await stand.play(expected.turn, cut, settled=len(expected.expect.get("settled", ())))
        check(expected, seen)
