"""Sizes and numbers at the edge: bodies over and under the buffer limit, and more requests at once than Envoy's defaults allow."""

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest

from tests.e2e.site import CHAT, WATCHED, Caller, Site, chat
from tests.transports import ON_BOTH

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module"), ON_BOTH]

MIB = 1 << 20
AT_ONCE = 1200
"""More than the 1,024 that Envoy's circuit breakers and the 100 streams that HTTP/2 connections allow by default."""
SAID = 4


async def test_a_body_over_the_limit_is_a_413_and_costs_nothing(site: Site) -> None:
    caller = await site.caller()
    answer = await site.post(caller, chat("a" * 17 * MIB))
    assert answer.status_code == 413
    assert not site.received
    assert await site.spent(caller) == 0


async def test_a_body_that_grows_over_the_limit_is_a_413_too(site: Site) -> None:
    async def body() -> AsyncIterator[bytes]:
        yield b'{"model": "'
        for _ in range(17):
            yield b"a" * MIB

    caller = await site.caller()
    answer = await site.client.post(CHAT, content=body(), headers=caller.headers)
    assert answer.status_code == 413
    assert not site.received


async def test_a_prompt_of_five_megabytes_passes_and_is_counted_to_the_token(site: Site) -> None:
    """Over grpcio's default of 4 MiB per message, and five times Envoy's default buffer."""
    caller = await site.caller()
    text = " water over the wheel" * (5 * MIB // 21)
    answer = await site.post(caller, chat(text, model="boundless"), x_simulate="tokens=3")
    assert answer.status_code == 200, answer.text
    assert answer.headers["x-headrace-route"] == "large"
    entry = site.only_received
    assert len(entry.body) > 5 * MIB
    await site.settlement(answer)
    assert await site.spent(caller) == entry.prompt_tokens + 3
    [decision] = await site.decisions(caller)
    assert decision["input_tokens"] == entry.prompt_tokens


async def test_twelve_hundred_requests_at_once_are_all_answered_and_settled(site: Site) -> None:
    caller = await site.caller()
    asked = chat(max_tokens=SAID)
    answers = await asyncio.gather(*(site.post(caller, asked, x_simulate=f"tokens={SAID}") for _ in range(AT_ONCE)))
    assert [answer.status_code for answer in answers] == [200] * AT_ONCE
    await site.settled([answer.headers["x-headrace-exchange"] for answer in answers])
    assert await site.spent(caller) == AT_ONCE * (8 + SAID)


async def test_hundreds_of_requests_share_one_http2_connection(site: Site) -> None:
    callers = [await site.caller(), await site.caller(WATCHED)]
    async with httpx.AsyncClient(base_url=site.stack.url, http1=False, http2=True, timeout=60) as client:

        async def call(index: int) -> httpx.Response:
            asked = chat(stream=index % 4 < 2, max_tokens=SAID)
            return await client.post(CHAT, json=asked, headers=callers[index % 2].headers)

        answers = await asyncio.gather(*map(call, range(300)))
    assert {(answer.http_version, answer.status_code) for answer in answers} == {("HTTP/2", 200)}
    await site.settled([answer.headers["x-headrace-exchange"] for answer in answers])
    assert [await site.spent(caller) for caller in callers] == [150 * (8 + SAID)] * 2


async def test_twelve_hundred_streams_run_through_the_service_side_by_side(site: Site) -> None:
    """Each is held open in its middle until all are, so that as many gRPC streams are open as requests."""
    caller = await site.caller(WATCHED)
    barrier = asyncio.Barrier(AT_ONCE)
    answers = await asyncio.gather(*(hold(site, caller, barrier) for _ in range(AT_ONCE)))
    assert [answer.status_code for answer in answers] == [200] * AT_ONCE
    await site.settled([answer.headers["x-headrace-exchange"] for answer in answers])
    await site.pools_idle()
    assert await site.spent(caller) == AT_ONCE * (8 + SAID) == sum(e.prompt_tokens + e.completion_tokens for e in site.received)


async def hold(site: Site, caller: Caller, barrier: asyncio.Barrier) -> httpx.Response:
    """Hangs up when everybody has heard the first tokens."""
    async with site.stream(caller, chat(stream=True), x_simulate=f"stall={SAID}") as answer:
        heard = 0
        async for line in answer.aiter_lines():
            heard += line.startswith("data: ")
            if heard == 1 + SAID:  # the role comes first
                break
        await barrier.wait()
        return answer
