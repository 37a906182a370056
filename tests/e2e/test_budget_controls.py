"""What budgets do besides admitting: streams that end in-band, requests at once, thresholds; through real Envoy and real SDKs."""

import asyncio
import base64
import contextlib
import hmac
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import anthropic
import httpx
import openai
import pytest
import pytest_asyncio

from headrace.ext_proc.cli.simulate.books import Outcome
from tests.e2e.site import MODEL, PLENTY, Caller, Site, chat, running_site, until
from tests.envoy.stub_upstream import Received, Reply, StubUpstream

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module")]

PROMPT, HELD = 8, 32
"""Tokens of "hi" in either dialect, and of answer that the cut budget holds besides."""
SLOWLY = {"x-simulate": f"tokens=200 pace=60 stall={HELD + 1}"}
"""The pool says the token that is too much, and then nothing more until its client is gone: its books are what was generated."""
AT_ONCE = 2
WARNED = 2_000
SECRET = "not a secret, but long enough"
MINE = {"name": "user-month", "per": ["team", "user"], "limit": {"tokens": PLENTY}, "window": "month"}


def chain_with(budget: dict[str, Any]) -> list[dict[str, Any]]:
    """What budgets need, and no more."""
    return [{"identity": {}}, {"budget": budget}, {"routing": {}}, {"usage": {}}]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def module_site() -> AsyncIterator[Site]:
    """Every user may use one prompt and HELD tokens of answer; streams are cut."""
    budgets = [MINE | {"name": "user-day", "limit": {"tokens": PROMPT + HELD}, "window": "day"}, MINE]
    budget = {"on_exhausted": "cut", "step_tokens": 16}
    async with running_site(budgets=budgets, filters=chain_with(budget)) as running:
        yield running


async def assert_cut(site: Site, caller: Caller, passed: int) -> None:
    """The upstream was left at once, and the caller is charged what it had generated."""
    async with asyncio.timeout(30):
        await site.standard.books.until(lambda books: not books.running)
    entry = site.only_received
    assert (entry.outcome, entry.completion_tokens) == (Outcome.CLIENT_GONE, HELD + 1)
    assert passed == HELD
    [decision] = await site.decisions(caller)
    assert (decision["outcome"], decision["reason"]) == ("cut", "budget.exhausted")
    [record] = await site.settled([decision["exchange"]])
    assert (record["outcome"], record["usage"]["output_tokens"]) == ("settled", entry.completion_tokens)
    assert await site.spent(caller) == entry.prompt_tokens + entry.completion_tokens


async def test_a_stream_ends_in_band_where_its_budget_does(site: Site) -> None:
    caller, passed = await site.caller(), 0
    async with site.openai(caller) as client:
        stream = await client.chat.completions.create(**chat("hi", max_tokens=150), stream=True, extra_headers=SLOWLY)
        with pytest.raises(openai.APIError, match="It ran out while the answer was streamed") as ended:
            async for chunk in stream:
                passed += bool(chunk.choices and chunk.choices[0].delta.content)
    assert (ended.value.code, ended.value.type) == ("budget.exhausted", "rate_limit_error")
    await assert_cut(site, caller, passed)


async def test_an_anthropic_stream_ends_in_its_own_dialect(site: Site) -> None:
    caller, passed = await site.caller(), 0
    async with site.anthropic(caller) as client:
        stream = await client.messages.create(
            model="claude-x", max_tokens=150, stream=True, messages=[{"role": "user", "content": "hi"}], extra_headers=SLOWLY
        )
        with pytest.raises(anthropic.APIError, match="It ran out while the answer was streamed"):
            async for event in stream:
                passed += event.type == "content_block_delta"
    await assert_cut(site, caller, passed)


async def test_a_responses_stream_ends_in_band_too(site: Site) -> None:
    caller = await site.caller()
    async with site.openai(caller) as client:
        stream = await client.responses.create(model=MODEL, input="hi", stream=True, max_output_tokens=150, extra_headers=SLOWLY)
        with pytest.raises(openai.APIError, match="It ran out while the answer was streamed"):
            async for _ in stream:
                pass
    [decision] = await site.decisions(caller)
    assert decision["outcome"] == "cut"


async def test_a_stream_leaves_to_others_what_its_request_does_not_allow_it(site: Site) -> None:
    caller, cap = await site.caller(), (PROMPT + HELD) // 2 - PROMPT
    async with site.openai(caller) as client:
        slowly = {"x-simulate": f"tokens={cap} pace=60 stall={cap - 1}"}
        stream = await client.chat.completions.create(**chat("hi", max_tokens=cap), stream=True, extra_headers=slowly)
        said = 0
        async for chunk in stream:
            said += bool(chunk.choices and chunk.choices[0].delta.content)
            if said == cap - 2:
                break
        beside = await site.post(caller, chat("hi", max_tokens=cap), x_simulate=f"tokens={cap}")
        assert beside.status_code == 200
        await stream.close()


async def test_a_dead_budget_refuses_the_next_request_once_and_for_all(site: Site) -> None:
    caller = await site.caller()
    assert (await site.post(caller, chat("hi", max_tokens=HELD), x_simulate=f"tokens={HELD}")).status_code == 200
    before = await site.requests_seen()
    async with site.anthropic(caller) as patient:
        assert patient.max_retries > 0
        with pytest.raises(anthropic.RateLimitError) as refused:
            await patient.messages.create(model="claude-x", max_tokens=9, messages=[{"role": "user", "content": "hi"}])
    headers = refused.value.response.headers
    assert (headers["x-should-retry"], headers["x-ratelimit-remaining-tokens"]) == ("false", "0")
    assert "retry-after" not in headers
    assert await site.requests_seen() == before + 1


@dataclass
class Hook:
    """Takes events."""

    events: list[Received] = field(default_factory=list)

    async def answer(self, request: Received, reply: Reply) -> None:
        self.events.append(request)
        await reply.whole(b"{}", connection="close")
        await reply.hang_up()


@contextlib.asynccontextmanager
async def warned_site() -> AsyncIterator[tuple[Site, Hook]]:
    """Two workers, each of which tells a webhook what its settlements find."""
    budgets = [
        MINE,
        MINE | {"name": "user-warned", "limit": {"tokens": WARNED}, "window": "day", "warn_at": [0.5, 0.25]},
        {"name": "user-at-once", "per": ["user"], "limit": {"concurrency": AT_ONCE}},
    ]
    hook = Hook()
    async with StubUpstream("hook") as server:
        server.answer = hook.answer
        alerts = {"webhook": {"url": f"{server.url}/budgets", "secret": {"file": "hook.secret"}}}
        files = {"hook.secret": SECRET}
        more = {"alerts": alerts, "files": files, "time_zone": "Europe/Berlin"}
        async with running_site(budgets=budgets, filters=chain_with({}), workers=2, **more) as site:
            yield site, hook


async def test_requests_at_once_and_thresholds() -> None:
    async with warned_site() as (site, hook):
        await only_so_many_run_at_once(site)
        await thresholds_are_told_once(site, hook)


async def only_so_many_run_at_once(site: Site) -> None:
    caller = await site.caller()
    body = chat("hi", max_tokens=9, stream=True)
    barrier = asyncio.Barrier(20)

    async def call() -> httpx.Response:
        async with site.stream(caller, body, x_simulate="stall=1") as answer:
            await barrier.wait()  # nobody leaves before everybody was answered
            return answer

    answers = await asyncio.gather(*(call() for _ in range(20)))
    through = [answer for answer in answers if answer.status_code == 200]
    refused = [answer for answer in answers if answer.status_code == 429]
    assert (len(through), len(refused)) == (AT_ONCE, 20 - AT_ONCE)
    assert {answer.headers["retry-after"] for answer in refused} == {"1"}
    await site.settled([answer.headers["x-headrace-exchange"] for answer in through])
    assert (await site.post(caller, chat("hi", max_tokens=9))).status_code == 200


async def thresholds_are_told_once(site: Site, hook: Hook) -> None:
    caller = await site.caller()
    for _ in range(14):  # 90 tokens each: a quarter is passed by the sixth, half by the twelfth
        await site.settlement(await site.post(caller, chat("hi", max_tokens=82), x_simulate="tokens=82"))

    async def both() -> bool:
        return len(hook.events) == 2

    await until(both, "both events")
    told = [json.loads(event.body)["data"] for event in hook.events]
    assert [(event["threshold"], event["budget"], event["counter"]) for event in told] == [
        ("0.25", "user-warned", f"research/{caller.user}"),
        ("0.5", "user-warned", f"research/{caller.user}"),
    ]
    assert [event["used"] for event in told] == [{"tokens": 540}, {"tokens": 1080}]
    assert len(await site.records("budget_warning")) == 2
    metrics = (await site.client.get(site.stack.metrics_url)).text
    assert 'headrace_budget_warnings_total{budget="user-warned"} 2.0' in metrics
    for event in hook.events:
        assert_signed(event)


def assert_signed(event: Received) -> None:
    headers = event.headers
    signed = b".".join((headers["webhook-id"].encode(), headers["webhook-timestamp"].encode(), event.body))
    expected = base64.b64encode(hmac.digest(SECRET.encode(), signed, "sha256")).decode()
    assert headers["webhook-signature"] == f"v1,{expected}"
