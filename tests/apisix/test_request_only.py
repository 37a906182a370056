"""Request-only mode behind ai-proxy: answers never pass the service, and leases are settled as behind Envoy, by the usage that the
gateway has read. Where a filter must read the answer, the request is refused.
"""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from headrace.ext_proc.core.effects import Release
from headrace.ext_proc.core.endpoint import endpoint_of
from tests.apisix.nginx import missing
from tests.apisix.real import as_sent, skip_unless_there
from tests.apisix.stand import behind_nginx
from tests.transcripts.checks import check
from tests.transcripts.model import Transcript
from tests.transcripts.pure import PureService
from tests.transcripts.real_envoy import Stand
from tests.transcripts.site import Site, until
from tests.transcripts.test_transcripts import played, played_through

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(bool(missing()), reason=missing()),
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stand() -> AsyncIterator[Stand]:
    async with behind_nginx(Stand(), "ai", {"request_only": True}) as stand:
        yield stand


NEVER_READ = {"identity", "routing"}
"""Filters whose transcripts need no trial run: no answer is read for them."""


async def answer_is_read(transcript: Transcript, folder: Path) -> bool:
    """Whether the service asks for the answer, of a gateway that reads usage itself."""
    if {name for entry in transcript.policy["filters"] for name in entry} <= NEVER_READ:
        return False
    async with Site(transcript, folder) as site:
        seen = await played_through(site, transcript, None, lambda: PureService(site))
    return seen.received is not None and seen.decision["outcome"] != "handed_off"


def is_count(transcript: Transcript) -> bool:
    """Refused behind ai-proxy: `test_a_path_that_names_no_call_is_no_way_past_the_filters`."""
    endpoint = endpoint_of("POST", transcript.turn.request.path)
    return endpoint is not None and endpoint.counts


SETTLED = [transcript for transcript in played("envoy") if "settled" in transcript.expect and not is_count(transcript)]


@pytest.mark.parametrize("transcript", SETTLED, ids=lambda transcript: transcript.name)
async def test_as_behind_envoy_or_refused(transcript: Transcript, tmp_path: Path, stand: Stand) -> None:
    skip_unless_there(transcript)
    read = await answer_is_read(transcript, tmp_path / "pure")
    async with Site(transcript, tmp_path) as site:
        stand.site = site
        if read and not transcript.before:
            await refused_as_misconfigured(stand, transcript)
        elif not read:
            await as_behind_envoy(stand, transcript)


async def as_behind_envoy(stand: Stand, transcript: Transcript) -> None:
    for turn in transcript.before:
        await stand.play(turn, None, settled=1)
        stand.now.forget()
    seen = await stand.play(transcript.turn, None, settled=len(transcript.expect.get("settled", ())))
    check(transcript, as_sent(seen, transcript))


async def refused_as_misconfigured(stand: Stand, transcript: Transcript) -> None:
    """The service cannot do with what this gateway gives; nothing reaches an upstream, and what was reserved is given back."""
    for upstream in stand.upstreams:
        upstream.received.clear()
    asked = transcript.turn.request
    answer = await stand.client.request(asked.method, asked.path, content=asked.body, headers=dict(asked.headers))
    assert answer.headers["x-headrace-reason"] == "gateway.misconfigured"
    assert (answer.status_code, [upstream.received for upstream in stand.upstreams]) == (503, [[], []])
    await until(lambda: len(stand.now.decisions) == 1, "the exchange to be closed")
    assert all(isinstance(effect, Release) for effect in stand.now.settled)
