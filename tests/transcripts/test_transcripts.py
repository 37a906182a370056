"""Every transcript, through every driver."""

from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import grpc.aio
import pytest
import pytest_asyncio

from headrace.ext_proc.envoy.config.names import UsageReader
from headrace.ext_proc.envoy.transport import Transport
from tests.e2e.envoy_process import short_directory
from tests.garbage import no_garbage
from tests.transcripts.checks import check
from tests.transcripts.gateway import Gateway, Service
from tests.transcripts.model import Seen, Transcript, Turn, transcripts
from tests.transcripts.over_grpc import GrpcService, serving
from tests.transcripts.pure import PureService
from tests.transcripts.real_envoy import Stand, running_stand
from tests.transcripts.site import Site

ALL = list(transcripts())
CUTS = {"every byte": 1, "every event": None, "whole": 0}


def played(*drivers: str) -> list[Transcript]:
    return [transcript for transcript in ALL if not {*drivers} & {*transcript.not_through}]


def cuts(transcript: Transcript) -> list[str]:
    """Only streams can be cut in several ways."""
    return list(CUTS) if transcript.turn.upstream.events is not None else ["whole"]


def cases(*drivers: str) -> list[object]:
    return [
        pytest.param(transcript, CUTS[cut], id=f"{transcript.name}-{cut}" if len(cuts(transcript)) > 1 else transcript.name)
        for transcript in played(*drivers)
        for cut in cuts(transcript)
    ]


async def played_through(site: Site, transcript: Transcript, cut: int | None, service: Callable[[], Service]) -> Seen:
    async def play(turn: Turn) -> Seen:
        seen = await Gateway(service(), cut).run(turn)
        await site.idle()
        return seen

    for turn in transcript.before:
        await play(turn)
        site.forget()
    seen = await play(transcript.turn)
    (decision,) = site.decisions
    seen.settled, seen.decision = site.settled, decision.members
    return seen


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=list(Transport))
async def stand(request: pytest.FixtureRequest) -> AsyncIterator[Stand]:
    async with running_stand(request.param) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stand_without_usage() -> AsyncIterator[Stand]:
    async with running_stand(Transport.H2, UsageReader.SERVICE) as running:
        yield running


@pytest.mark.parametrize(("transcript", "cut"), cases("step"))
async def test_through_step(transcript: Transcript, cut: int | None, tmp_path: Path) -> None:
    async with Site(transcript, tmp_path) as site:
        check(transcript, await played_through(site, transcript, cut, lambda: PureService(site)))


@pytest.mark.parametrize("transcript", played("step"), ids=lambda transcript: transcript.name)
async def test_nothing_of_an_exchange_is_left_to_the_garbage_collector(transcript: Transcript, tmp_path: Path) -> None:
    async with Site(transcript, tmp_path) as site:
        with no_garbage():
            await played_through(site, transcript, 0, lambda: PureService(site))


@pytest.mark.parametrize("transport", Transport)
@pytest.mark.parametrize(("transcript", "cut"), cases("grpc"))
async def test_through_the_grpc_servicer(transcript: Transcript, cut: int | None, tmp_path: Path, transport: Transport) -> None:
    with short_directory() as sockets:
        async with (
            Site(transcript, tmp_path) as site,
            serving(site, sockets, transport) as opened,
            grpc.aio.insecure_channel(f"unix:{sockets}/w.sock") as channel,
        ):
            check(transcript, await played_through(site, transcript, cut, lambda: GrpcService(site, opened, channel)))


@pytest.mark.e2e
@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(("transcript", "cut"), cases("envoy"))
async def test_through_envoy(transcript: Transcript, cut: int | None, tmp_path: Path, stand: Stand) -> None:
    await played_on(stand, transcript, cut, tmp_path)


@pytest.mark.e2e
@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(("transcript", "cut"), cases("envoy", "envoy-service"))
async def test_through_an_envoy_that_does_not_read_usage(
    transcript: Transcript, cut: int | None, tmp_path: Path, stand_without_usage: Stand
) -> None:
    await played_on(stand_without_usage, read_here(transcript), cut, tmp_path)


def read_here(transcript: Transcript) -> Transcript:
    """As it goes where answers pass through the service: they end here, and where no lease was taken there is none to settle."""
    expect = dict(transcript.expect)
    settled = [each for each in expect.get("settled", ()) if each.get("settle") != "nothing"]
    decision = dict(expect.get("decision", {}))
    if decision.get("outcome") == "handed_off" and decision.get("endpoint", "a call") is not None:
        decision["outcome"] = "completed"
    return replace(transcript, expect={**expect, "settled": settled, "decision": decision})


async def played_on(stand: Stand, transcript: Transcript, cut: int | None, tmp_path: Path) -> None:
    async with Site(transcript, tmp_path) as site:
        stand.site = site
        for turn in transcript.before:
            await stand.play(turn, cut, settled=1)
            site.forget()
        seen = await stand.play(transcript.turn, cut, settled=len(transcript.expect.get("settled", ())))
        check(transcript, seen)
