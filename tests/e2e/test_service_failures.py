"""What a caller sees, and is charged, when the service dies or hangs. Nothing that the policy governs passes without it."""

import asyncio
import os
import signal

import httpx
import pytest

from headrace.ext_proc.cli.simulate.books import Outcome
from tests.e2e.halfway import DELTA, DONE, halfway_site
from tests.e2e.site import DEADLINE_S, MODELS, WATCHED, Caller, Site, chat, running_site, until
from tests.transports import ON_BOTH

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module"), ON_BOTH]

STREAMED = chat(stream=True, max_tokens=50)


async def charged(site: Site, caller: Caller, tokens: int) -> None:
    """Returns when that is what the caller has spent, after every release of what was not."""

    async def settled() -> bool:
        return await site.spent(caller) == tokens

    await until(settled, f"{tokens} tokens charged")


async def test_while_the_service_is_dead_nothing_passes() -> None:
    async with running_site() as site:
        caller = await site.caller()
        await site.kill_service()
        for answer in [await site.post(caller, chat()), await site.client.get(MODELS)]:
            assert answer.status_code == 500
            assert "x-headrace-exchange" not in answer.headers
        assert not site.received
        assert await site.spent(caller) == 0


async def test_a_killed_worker_is_replaced_and_requests_pass_again(site: Site) -> None:
    caller = await site.caller()
    pid = site.stack.service.slots[0].pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)

    async def served() -> bool:
        return (await site.post(caller, chat(), x_simulate="tokens=5")).status_code == 200

    await until(served, "another worker")
    assert site.stack.service.slots[0].pid != pid
    entry = site.only_received
    decisions = await site.decisions(caller)
    await site.settled([decision["exchange"] for decision in decisions])
    assert await site.spent(caller) == entry.prompt_tokens + entry.completion_tokens


async def test_while_a_worker_is_away_another_takes_its_requests() -> None:
    async with running_site(workers=2) as site:
        caller = await site.caller()
        await site.stack.service.slots[0].kill()
        answers = [await site.post(caller, chat(), x_simulate="tokens=2") for _ in range(20)]
        assert [answer.status_code for answer in answers] == [200] * 20
        await site.settled([answer.headers["x-headrace-exchange"] for answer in answers])
        assert await site.spent(caller) == 20 * (8 + 2)


async def test_an_answer_that_nobody_reads_survives_the_service() -> None:
    """Its settlement has nowhere to go: what was reserved stands."""
    async with halfway_site() as (site, halfway):
        caller = await site.caller()
        async with site.stream(caller, STREAMED) as answer:
            chunks = answer.aiter_bytes()
            heard = await anext(chunks)
            await site.kill_service()
            halfway.go_on()
            heard += b"".join([chunk async for chunk in chunks])
        assert heard == DELTA + DELTA + DONE
        assert await site.spent(caller) == 8 + 50


async def test_an_answer_that_is_read_ends_with_the_service() -> None:
    """It must not go on unread: the caller sees it cut off, and the upstream is told to stop."""
    async with halfway_site() as (site, halfway):
        caller = await site.caller(WATCHED)
        with pytest.raises(httpx.RemoteProtocolError):
            async with site.stream(caller, STREAMED) as answer:
                assert answer.status_code == 200
                chunks = answer.aiter_bytes()
                assert await anext(chunks) == DELTA
                await site.kill_service()
                assert not [chunk async for chunk in chunks]
        async with asyncio.timeout(DEADLINE_S):
            await halfway.hung_up.wait()
        assert await site.spent(caller) == 8 + 50


async def test_a_service_that_hangs_is_a_504_and_costs_nothing(site: Site) -> None:
    """Envoy gives up after its message time-out; the service finds the request gone when it comes to itself."""
    caller = await site.caller()
    with site.stopped_worker():
        answer = await site.post(caller, chat())
    assert answer.status_code == 504
    assert not site.received
    assert (await site.post(caller, chat(), x_simulate="tokens=2")).status_code == 200
    await charged(site, caller, 8 + 2)


async def test_a_service_that_hangs_in_mid_answer_delays_it_and_loses_nothing(site: Site) -> None:
    caller = await site.caller(WATCHED)
    async with site.stream(caller, STREAMED, x_simulate="tokens=20") as answer:
        with site.stopped_worker():
            await site.pools_idle()
        heard = await answer.aread()
    assert heard.endswith(b"data: [DONE]\n\n")
    await site.settlement(answer)
    assert [decision["outcome"] for decision in await site.decisions(caller)] == ["completed"]
    assert await site.spent(caller) == 8 + 20
    assert site.only_received.outcome is Outcome.COMPLETE


async def test_while_the_store_hangs_requests_are_refused_in_the_callers_words(site: Site) -> None:
    caller = await site.caller()
    await site.valkey.client_pause(60_000, all=False)  # writes only: the keys can still be read
    try:
        answer = await site.post(caller, chat())
    finally:
        await site.valkey.client_unpause()
    assert answer.status_code == 503
    assert answer.json()["error"]["code"] == "budget.unavailable"
    assert int(answer.headers["retry-after"]) >= 1
    assert not site.received

    async def served() -> bool:
        return (await site.post(caller, chat(), x_simulate="tokens=2")).status_code == 200

    await until(served, "a store that is asked again")
    await charged(site, caller, 8 + 2)
