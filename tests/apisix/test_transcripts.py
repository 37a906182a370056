"""Every transcript through the Lua plugin, on a plain route and behind ai-proxy, against the service in this process."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest
import pytest_asyncio

from headrace.ext_proc.core.endpoint import endpoint_of
from tests.apisix.nginx import missing
from tests.apisix.real import as_sent, skip_unless_there
from tests.apisix.stand import behind_nginx
from tests.transcripts.checks import check
from tests.transcripts.model import Transcript
from tests.transcripts.real_envoy import Stand
from tests.transcripts.site import WAIT, Site
from tests.transcripts.test_transcripts import cases

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(bool(missing()), reason=missing()),
]


NOTHING_YET = b":\n\n"
"""The comment that stands for a piece the service holds back: ai-proxy takes an empty one for the stream's end."""


Route = Literal["plain", "ai"]


@pytest.fixture(scope="module", params=["plain", "ai"])
def route(request: pytest.FixtureRequest) -> Route:
    found: Route = request.param
    return found


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stand(route: Route) -> AsyncIterator[Stand]:
    patient = {"message_timeout_ms": int(WAIT * 1000)}  # the first request waits for detectors
    async with behind_nginx(Stand(noise=NOTHING_YET), route, patient) as stand:
        yield stand


REFUSED: Mapping[str, Any] = {"refused": {"status": 404}, "decision": {"outcome": "refused", "reason": "path.not_allowed"}}


def as_here(transcript: Transcript, route: Route) -> Transcript:
    """What differs behind APISIX, in general: no access log tells the usage, so answers pass through the service; usage that no
    budget is charged for is in the decision alone; and ai-proxy is for calls that a model answers.
    """
    expect = dict(transcript.expect)
    asked = transcript.turn.request
    endpoint = endpoint_of(asked.method, asked.path, has_body=bool(asked.body))
    is_call = endpoint is not None
    if route == "ai" and (endpoint is None or endpoint.counts):
        return replace(transcript, expect=REFUSED)
    if expect.get("decision", {}).get("outcome") == "handed_off" and is_call:
        expect["decision"] = {**expect["decision"], "outcome": "completed"}
    expect["settled"] = [effect for effect in expect.get("settled", ()) if effect.get("settle") != "nothing"]
    return replace(transcript, expect=expect)


@pytest.mark.parametrize(("transcript", "cut"), cases("apisix"))
async def test_through_the_plugin(transcript: Transcript, cut: int | None, tmp_path: Path, stand: Stand, route: Route) -> None:
    if route == "ai":
        skip_unless_there(transcript)
    async with Site(transcript, tmp_path) as site:
        stand.site = site
        for turn in transcript.before:
            await stand.play(turn, cut, settled=1)
            site.forget()
        expected = as_here(transcript, route)
        seen = await stand.play(expected.turn, cut, settled=len(expected.expect.get("settled", ())))
        check(expected, as_sent(seen, expected) if route == "ai" else seen)
