"""Every transcript through the Lua plugin, on a plain route and behind ai-proxy, against the service in this process."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio

from headrace.ext_proc.core.endpoint import endpoint_of
from tests.apisix.nginx import missing
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


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["plain", "ai"])
async def stand(request: pytest.FixtureRequest) -> AsyncIterator[Stand]:
    patient = {"message_timeout_ms": int(WAIT * 1000)}  # the first request waits for detectors
    async with behind_nginx(Stand(noise=NOTHING_YET), request.param, patient) as stand:
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
