"""Another pool where one fails, through real Envoy: who is asked, what the caller sees, and what is charged."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
import pytest_asyncio

from headrace.ext_proc.cli.simulate.books import Entry
from tests.e2e.halfway import DELTA, Halfway
from tests.e2e.site import CHAT, WATCHED, Caller, Site, chat, lean_chain, running_site, until
from tests.e2e.test_upstream_failures import closed_port
from tests.envoy.stub_upstream import Received, Reply, StubUpstream

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module")]

ASKED = chat(max_tokens=40)
STREAMED = ASKED | {"stream": True}
PROMPT, ANSWER = 8, 16
"""Tokens of ASKED by the pools' own count, and of what they say to it."""

SECRET = "sk-of-the-provider"
FIRST_TOKEN_S = 0.3


def models() -> list[dict[str, Any]]:
    """A model that both pools serve, the second one under a name and at a price of its own."""
    pools = [{"upstream": "standard"}, {"upstream": "large", "model": "cheap-model"}]
    return [
        {"name": "llama-3.3-70b", "price": {"input": 10, "output": 20}, "max_output": 256, "pools": pools},
        {"name": "cheap-model", "price": {"input": 1, "output": 2}, "max_output": 256, "pools": [pools[1]]},
    ]


@dataclass
class Failing:
    """A site whose pool `standard` is scripted; `large` is sound."""

    site: Site
    primary: StubUpstream

    async def refuse(self, status: int, **headers: str) -> None:
        async def answer(_: Received, reply: Reply) -> None:
            reply.status = status
            await reply.whole(b'{"error": {"message": "scripted"}}', **headers)

        self.primary.answer = answer

    @property
    def second(self) -> Entry:
        """The one request that reached the other pool."""
        [entry] = self.site.large.books.entries
        return entry


@contextlib.asynccontextmanager
async def failing_site(primary: str | None = None, **failover: Any) -> AsyncIterator[Failing]:
    """primary: a URL in place of the scripted pool."""
    async with StubUpstream("standard") as stub:
        filters = lean_chain(routing={"failover": failover})
        key = {"large": {"api_key": {"file": "provider.key"}}}
        site = running_site(
            upstreams={"standard": primary or stub.url},
            models=models(),
            filters=filters,
            of_upstreams=key,
            files={"provider.key": SECRET + "\n"},
        )
        async with site as running:
            yield Failing(running, stub)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared() -> AsyncIterator[Failing]:
    async with failing_site(first_token_timeout=FIRST_TOKEN_S) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def failing(shared: Failing) -> Failing:
    shared.site.standard.books.clear()
    shared.site.large.books.clear()
    shared.primary.received.clear()
    return shared


async def usd(site: Site, caller: Caller) -> int:
    """nano-USD charged to the caller's team."""
    return await site.ledger(f"team-month:{caller.team}")


async def answered_by_the_other(failing: Failing, caller: Caller, answer: httpx.Response) -> None:
    """The other pool's model answered, under its credential, and was charged at its price, once."""
    assert answer.status_code == 200, answer.text
    assert answer.headers["x-headrace-route"] == "large"
    assert answer.headers["x-headrace-reason"] == "routing.failover"
    entry = failing.second
    assert json.loads(entry.body)["model"] == "cheap-model"
    assert entry.header("authorization") == f"Bearer {SECRET}"
    record = await failing.site.settlement(answer)
    assert (record["outcome"], record["route"], record["served"]) == ("settled", "large", "cheap-model")
    assert (record["failed"], record["reason"]) == (["standard"], "routing.failover")
    assert await failing.site.spent(caller) == PROMPT + ANSWER
    assert await usd(failing.site, caller) == (PROMPT * 1 + ANSWER * 2) * 1000


@pytest.mark.parametrize("status", [500, 502, 503, 429])
@pytest.mark.parametrize("stream", [False, True])
async def test_a_pool_that_refuses_is_passed_over(failing: Failing, status: int, stream: bool) -> None:
    await failing.refuse(status)
    caller = await failing.site.caller(f"team-{status}-{stream}")
    answer = await failing.site.post(caller, ASKED | {"stream": stream})
    await answered_by_the_other(failing, caller, answer)
    [first] = failing.primary.received
    assert json.loads(first.body)["model"] == "llama-3.3-70b"
    assert "authorization" not in first.headers
    assert not [name for name in first.headers if name.startswith(("x-headrace", "x-envoy"))]


async def test_an_error_of_the_caller_is_the_answer(failing: Failing) -> None:
    await failing.refuse(400)
    caller = await failing.site.caller("team-400")
    answer = await failing.site.post(caller, ASKED)
    assert answer.status_code == 400
    assert not failing.site.large.books.entries


async def test_a_first_token_that_is_late_is_not_waited_for(failing: Failing) -> None:
    """The head of the stream comes at once; what counts is its first byte."""

    async def begin_and_wait(_: Received, reply: Reply) -> None:
        await reply.begin()
        await reply.gone()

    failing.primary.answer = begin_and_wait
    caller = await failing.site.caller("team-late")
    answer = await failing.site.post(caller, STREAMED)
    await answered_by_the_other(failing, caller, answer)


async def test_once_a_byte_has_gone_to_the_caller_nobody_else_is_asked(failing: Failing) -> None:
    """What was reserved stands: the pool did not report what it used."""
    halfway = Halfway()
    failing.primary.answer = halfway.answer
    caller = await failing.site.caller("team-dies")
    with pytest.raises(httpx.RemoteProtocolError):
        async with failing.site.stream(caller, STREAMED) as answer:
            chunks = answer.aiter_bytes()
            assert await anext(chunks) == DELTA
            halfway.die()
            assert not [chunk async for chunk in chunks]
    assert (await failing.site.settlement(answer))["outcome"] == "kept"
    assert await failing.site.spent(caller) == PROMPT + 40
    assert not failing.site.large.books.entries


async def test_an_answer_slower_than_the_first_token_may_be_lives(failing: Failing) -> None:
    """The limit ends with the first byte."""
    going = asyncio.Event()

    async def slow(_: Received, reply: Reply) -> None:
        await reply.begin()
        await reply.send(DELTA)
        await asyncio.sleep(2 * FIRST_TOKEN_S)
        going.set()
        await reply.send(DELTA)
        await reply.end()

    failing.primary.answer = slow
    caller = await failing.site.caller("team-slow")
    answer = await failing.site.post(caller, STREAMED)
    assert answer.content == DELTA + DELTA
    assert going.is_set()
    assert answer.headers["x-headrace-route"] == "standard"
    assert answer.headers["x-headrace-reason"] == "routing.first_pool"


async def test_a_watched_stream_is_charged_at_the_price_of_who_answered(failing: Failing) -> None:
    """Its events pass through the service, which settles by itself."""
    await failing.refuse(503)
    caller = await failing.site.caller(WATCHED)
    answer = await failing.site.post(caller, STREAMED)
    assert (answer.headers["x-headrace-route"], answer.headers["x-headrace-reason"]) == ("large", "routing.failover")
    [record] = await failing.site.settled([answer.headers["x-headrace-exchange"]])
    assert (record["route"], record["failed"]) == ("large", ["standard"])
    assert await usd(failing.site, caller) == (PROMPT * 1 + ANSWER * 2) * 1000


async def test_a_pool_that_is_down_is_passed_over_and_then_left_out() -> None:
    with closed_port() as port:
        async with failing_site(f"http://127.0.0.1:{port}") as failing:
            caller = await failing.site.caller()
            for _ in range(6):
                answer = await failing.site.post(caller, ASKED)
                assert answer.headers["x-headrace-route"] == "large"

            flags = f"standard::127.0.0.1:{port}::health_flags::/failed_outlier_check"

            async def left_out() -> bool:
                return flags in await failing.site.stack.envoy.admin("/clusters")

            await until(left_out, "the pool to be left out")
            answer = await failing.site.post(caller, ASKED)
            assert (answer.status_code, answer.headers["x-headrace-route"]) == (200, "large")


async def test_where_every_pool_fails_the_last_ones_error_is_the_answer_and_nothing_is_charged(failing: Failing) -> None:
    await failing.refuse(503)
    caller = await failing.site.caller("team-all")
    answer = await failing.site.post(caller, ASKED, x_simulate="fail=500")
    assert answer.status_code == 500
    record = await failing.site.settlement(answer)
    assert (record["outcome"], record["route"], record["failed"]) == ("released", "large", ["standard"])
    assert await failing.site.spent(caller) == 0
    assert failing.second.path == CHAT


async def test_a_caller_that_asks_envoy_for_retries_gets_none(failing: Failing) -> None:
    """On a path without a decision there are no candidates."""
    await failing.refuse(503)
    caller = await failing.site.caller("team-asks")
    headers = {"x-envoy-max-retries": "5", "x-envoy-retry-on": "5xx", "x-headrace-route": "standard"}
    answer = await failing.site.client.get("/v1/models", headers=headers | caller.headers)
    assert answer.status_code == 503
    assert len(failing.primary.received) == 1


IDLE_S = 1.0


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def idle() -> AsyncIterator[Failing]:
    """A pool that says nothing for IDLE_S counts as dead."""
    async with failing_site(idle_timeout=IDLE_S) as running:
        yield running


async def test_a_pool_that_is_silent_before_its_answer_is_passed_over(idle: Failing) -> None:
    async def silent(_: Received, reply: Reply) -> None:
        await reply.gone()

    idle.primary.answer = silent
    idle.site.large.books.clear()
    caller = await idle.site.caller("team-silent")
    answer = await idle.site.post(caller, ASKED)
    await answered_by_the_other(idle, caller, answer)


@pytest.mark.parametrize("team", ["team-halts", WATCHED])
async def test_a_stream_that_falls_silent_is_cut_off_and_charged_once(idle: Failing, team: str) -> None:
    halfway = Halfway()
    idle.primary.answer = halfway.answer
    idle.site.large.books.clear()
    caller = await idle.site.caller(team)
    with pytest.raises(httpx.RemoteProtocolError):
        async with idle.site.stream(caller, STREAMED) as answer:
            assert [chunk async for chunk in answer.aiter_bytes()] == [DELTA]
    async with asyncio.timeout(20):
        await halfway.hung_up.wait()
    [record] = await idle.site.settled([answer.headers["x-headrace-exchange"]])
    assert record["outcome"] == ("settled" if team == WATCHED else "kept")
    assert await idle.site.spent(caller) == PROMPT + (1 if team == WATCHED else 40)
    assert not idle.site.large.books.entries


async def test_a_long_answer_lives_as_long_as_it_goes_on(idle: Failing) -> None:
    async def long(_: Received, reply: Reply) -> None:
        await reply.begin()
        for _word in range(5):
            await reply.send(DELTA)
            await asyncio.sleep(0.3 * IDLE_S)
        await reply.end()

    idle.primary.answer = long
    answer = await idle.site.post(await idle.site.caller("team-long"), STREAMED)
    assert answer.content == DELTA * 5
    assert answer.headers["x-headrace-route"] == "standard"
