"""What a caller sees, and is charged, when the upstream fails or the caller hangs up."""

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest
from anthropic import AsyncAnthropic

from headrace.ext_proc.cli.simulate.books import Outcome
from tests.e2e.halfway import DELTA, halfway_site
from tests.e2e.site import CHAT, MESSAGES, WATCHED, Site, chain, chat, patient, running_site, until
from tests.transports import ON_BOTH

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module"), ON_BOTH]

CAP = 50
PROMPT = 8
ASKED = chat(max_tokens=CAP)
STREAMED = ASKED | {"stream": True}
TEAMS = pytest.mark.parametrize("team", ["research", WATCHED])


@contextlib.contextmanager
def closed_port() -> Iterator[int]:
    """A port of loopback on which nobody listens, and nobody will."""
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        yield reserved.getsockname()[1]


async def test_an_upstream_that_is_down_is_a_503_and_costs_nothing() -> None:
    with closed_port() as port:
        async with running_site(upstreams={"standard": f"http://127.0.0.1:{port}"}, filters=patient(chain())) as site:
            caller = await site.caller()
            answer = await site.post(caller, ASKED)
            assert (answer.status_code, answer.json()["error"]["code"]) == (503, "upstream.unavailable")
            assert (await site.settlement(answer))["outcome"] == "released"
            assert await site.spent(caller) == 0


@TEAMS
@pytest.mark.parametrize("status", [400, 429, 500, 529])
@pytest.mark.parametrize("stream", [False, True])
async def test_an_upstreams_error_reaches_the_caller_as_it_is_and_costs_nothing(
    site: Site, team: str, status: int, stream: bool
) -> None:
    caller = await site.caller(team)
    answer = await site.post(caller, ASKED | {"stream": stream}, x_simulate=f"fail={status}")
    assert answer.status_code == status
    assert answer.json()["error"]["message"] == "simulated failure"
    assert answer.headers.get("retry-after") == ("1" if status == 429 else None)
    assert (await site.settlement(answer))["outcome"] == "released"
    assert await site.spent(caller) == 0


@pytest.mark.parametrize(("team", "charged"), [("research", PROMPT + CAP), (WATCHED, PROMPT + 1)])
async def test_an_upstream_that_dies_in_mid_stream_cuts_the_answer_off(team: str, charged: int) -> None:
    """Without a report of its usage, what was reserved stands; where streams are read, what was streamed is counted."""
    async with halfway_site() as (site, upstream):
        caller = await site.caller(team)
        with pytest.raises(httpx.RemoteProtocolError):
            async with site.stream(caller, STREAMED) as answer:
                chunks = answer.aiter_bytes()
                assert await anext(chunks) == DELTA
                upstream.die()
                assert not [chunk async for chunk in chunks]
        await site.settlement(answer)
        assert await site.spent(caller) == charged


@TEAMS
async def test_an_upstream_that_dies_at_its_first_word_is_never_a_whole_answer(site: Site, team: str) -> None:
    """Cut off, or a 502 where Envoy had not sent the status yet. At most what was reserved is charged."""
    caller = await site.caller(team)
    with contextlib.suppress(httpx.RemoteProtocolError):
        answer = await site.post(caller, STREAMED, x_simulate="die=1")
        assert answer.status_code == 502
    [decision] = await site.decisions(caller)
    await site.settled([decision["exchange"]])
    assert await site.spent(caller) <= PROMPT + CAP


@TEAMS
async def test_an_upstream_that_dies_before_its_answer_is_a_502_and_costs_nothing(site: Site, team: str) -> None:
    caller = await site.caller(team)
    answer = await site.post(caller, ASKED, x_simulate="die=3")
    assert answer.status_code == 502
    assert (await site.settlement(answer))["outcome"] == "released"
    assert await site.spent(caller) == 0


@TEAMS
async def test_hanging_up_stops_the_upstream(site: Site, team: str) -> None:
    caller = await site.caller(team)
    async with site.stream(caller, STREAMED, x_simulate="stall=3") as answer:
        assert answer.status_code == 200
    await site.pools_idle()
    assert site.only_received.outcome is Outcome.CLIENT_GONE


async def test_hanging_up_while_the_body_is_on_its_way_costs_nothing(site: Site) -> None:
    caller = await site.caller()
    _, writer = await asyncio.open_connection("127.0.0.1", httpx.URL(site.stack.url).port)
    head = f"POST {CHAT} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {caller.secret}\r\ncontent-length: 1000\r\n\r\n"
    writer.write(head.encode() + b'{"model": "llama')
    await writer.drain()

    async def begun() -> bool:
        return "downstream_rq_active: 1" in await site.stack.envoy.admin("/stats?filter=^http.headrace.downstream_rq_active$")

    await until(begun, "the request at Envoy")
    writer.close()
    await writer.wait_closed()
    [decision] = await site.decisions(caller)
    assert decision["outcome"] == "aborted"
    assert not site.received
    assert await site.spent(caller) == 0


async def test_the_sdks_see_an_upstreams_error_as_their_own(site: Site) -> None:
    caller = await site.caller()
    failing = {"x-simulate": "fail=500"}
    async with site.openai(caller).with_options(max_retries=0) as client:
        with pytest.raises(openai.InternalServerError):
            await client.chat.completions.create(**ASKED, extra_headers=failing)
    async with site.anthropic(caller) as claude:
        assert await anthropics_error(claude.with_options(max_retries=0), failing) == "api_error"
    assert [entry.path for entry in site.received] == [CHAT, MESSAGES]


async def anthropics_error(client: AsyncAnthropic, headers: dict[str, str]) -> Any:
    from anthropic import InternalServerError

    with pytest.raises(InternalServerError) as caught:
        await client.messages.create(
            model="claude-sonnet", max_tokens=CAP, messages=[{"role": "user", "content": "hi"}], extra_headers=headers
        )
    body: Any = caught.value.body
    return body["error"]["type"]
