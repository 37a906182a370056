"""Budgets through the whole path: exactly what is allowed is admitted, and what is charged is what the upstream counted."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
import pytest_asyncio
from openai import AsyncOpenAI, RateLimitError

from headrace.ext_proc.cli.simulate import chat as upstream
from headrace.ext_proc.cli.simulate.books import Outcome
from headrace.ext_proc.core.stream_sizes import SEEN
from headrace.ext_proc.engine.budgets.desk import Change, Desk
from headrace.ext_proc.engine.budgets.limits import limits_of
from headrace.ext_proc.engine.clock import SystemClock
from headrace.ext_proc.engine.policy.offline import compiled
from headrace.ext_proc.stores import open_store
from tests.e2e.site import CHAT, MESSAGES, PLENTY, Caller, Site, chain, chat, lean_chain, patient, running_site, until

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module")]

AT_ONCE, WORTH = 50, 7
CAP, SAID = 40, 36
"""Tokens of answer a request reserves, and those it gets: what all admitted give back together is worth no further request."""
HANG_UP_AFTER = 3
"""Tokens after which the pool falls silent for a client that will hang up."""

ASKED = chat("How deep is the water?", max_tokens=CAP)
PROMPT = upstream.read(json.dumps(ASKED).encode()).prompt_tokens
COST = PROMPT + CAP
assert WORTH * (CAP - SAID) < COST


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def module_site() -> AsyncIterator[Site]:
    """app-month is worth seven requests; teams differ in how hang-ups are charged. What one worker admits another may settle."""
    budgets = [
        {"name": "team-month", "per": ["team"], "limit": {"usd": 1_000_000}, "window": "month"},
        {"name": "app-month", "per": ["app"], "limit": {"tokens": WORTH * COST}, "window": "month"},
        {"name": "app-hour", "per": ["app"], "limit": {"requests": PLENTY}, "window": {"sliding": 3600}},
        {"name": "user-month", "per": ["team", "user"], "limit": {"tokens": PLENTY}, "window": "month"},
    ]
    overrides = [
        {"when": {"team": "continuous"}, "set": {"usage": {"continuous": True}}},
        {"when": {"team": "counted"}, "set": {"usage": {"on_hang_up": "count"}}},
        {"when": {"team": "plain"}, "set": {"usage": {"on_hang_up": "reserved"}}},
    ]
    async with running_site(budgets=budgets, overrides=overrides, filters=patient(chain()), workers=2) as running:
        yield running


@dataclass
class Client:
    """One of many clients at once; `streams` and `hangs_up` say how it behaves."""

    site: Site
    caller: Caller
    streams: bool
    hangs_up: bool

    async def call(self, barrier: asyncio.Barrier) -> httpx.Response:
        """Waits for everybody's status before it goes on, so that nothing is settled before everything is decided."""
        script = f"tokens={SAID}" + (f" stall={HANG_UP_AFTER}" if self.hangs_up else "")
        async with self.site.stream(self.caller, ASKED | {"stream": self.streams}, x_simulate=script) as answer:
            await barrier.wait()
            if answer.status_code == 200 and self.hangs_up:
                await tokens_heard(answer, HANG_UP_AFTER)
            else:
                await answer.aread()
            return answer


async def tokens_heard(answer: httpx.Response, tokens: int) -> None:
    """Reads so many tokens of a stream, and not one byte more."""
    async for line in answer.aiter_lines():
        if line.startswith("data: {") and heard(json.loads(line[6:])):
            tokens -= 1
        if not tokens:
            return


def heard(document: dict[str, Any]) -> str:
    return "".join(choice["delta"].get("content") or "" for choice in document["choices"])


async def all_at_once(site: Site, callers: Sequence[Caller], *, streams: bool) -> Sequence[httpx.Response]:
    """One request of each, every fifth of which hangs up in mid-stream."""
    barrier = asyncio.Barrier(len(callers))
    clients = [Client(site, caller, streams, streams and index % 5 == 0) for index, caller in enumerate(callers)]
    return await asyncio.gather(*(client.call(barrier) for client in clients))


def admitted(answers: Sequence[httpx.Response]) -> list[str]:
    return [answer.headers["x-headrace-exchange"] for answer in answers if answer.status_code == 200]


async def books_tokens(site: Site) -> int:
    """Tokens of every request the pools had, once they have seen the last client go."""
    await asyncio.gather(*(pool.books.until(lambda books: not books.running) for pool in (site.standard, site.large)))
    return sum(entry.prompt_tokens + entry.completion_tokens for entry in site.received)


@pytest.mark.parametrize("run", range(3))
@pytest.mark.parametrize("team", ["continuous", "counted"])
@pytest.mark.parametrize("streams", [False, True], ids=["json", "sse"])
async def test_a_budget_worth_seven_admits_seven_of_fifty_at_once_and_is_charged_what_they_used(
    site: Site, streams: bool, team: str, run: int
) -> None:
    app = f"app-{team}-{streams}-{run}"
    callers = [await site.caller(team, app=app)] * AT_ONCE
    answers = await all_at_once(site, callers, streams=streams)
    through = admitted(answers)
    assert len(through) == WORTH
    assert len(site.received) == WORTH
    for answer in answers:
        if answer.status_code != 200:
            assert_refused(answer)
    await site.settled(through)
    assert await site.ledger(f"app-month:{app}") == await books_tokens(site)


def assert_refused(answer: httpx.Response) -> None:
    """The window ends days from now: a client that retries by itself is told not to, and none is made to sleep until then."""
    assert answer.status_code == 429, answer.text
    error = answer.json()["error"]
    assert (error["type"], error["code"]) == ("rate_limit_error", "budget.exhausted")
    assert "app-month" in error["message"]
    assert "retry-after" not in answer.headers
    assert int(answer.headers["x-ratelimit-remaining-tokens"]) < COST


@pytest.mark.parametrize("team", ["continuous", "counted"])
async def test_after_fifty_streams_of_which_ten_are_hung_up_the_ledger_is_the_upstreams_count(site: Site, team: str) -> None:
    callers = [await site.caller(team, app=f"many-{team}-{index}") for index in range(AT_ONCE)]
    answers = await all_at_once(site, callers, streams=True)
    through = admitted(answers)
    assert len(through) == AT_ONCE
    records = await site.settled(through)
    counted = await books_tokens(site)
    assert sum([await site.spent(caller) for caller in callers]) == counted
    assert counted == AT_ONCE * PROMPT + 40 * SAID + 10 * HANG_UP_AFTER
    assert [entry.outcome for entry in site.received].count(Outcome.CLIENT_GONE) == 10
    assert sorted({record["usage"]["output_tokens"] for record in records}) == [HANG_UP_AFTER, SAID]


async def test_every_level_and_window_is_charged_the_same(site: Site) -> None:
    caller = await site.caller("levels", app="levels")
    answer = await site.post(caller, ASKED, x_simulate=f"tokens={SAID}")
    record = await site.settlement(answer)
    assert await site.spent(caller) == await site.ledger("app-month:levels") == PROMPT + SAID
    nano_usd = PROMPT * 600 + SAID * 800
    assert await site.ledger("team-month:levels") == nano_usd
    assert record["usd"] == f"{nano_usd / 1e9:.7f}"


async def test_a_client_that_hangs_up_before_the_usage_is_charged_what_was_reserved(site: Site) -> None:
    caller = await site.caller("plain", app="plain")
    async with site.stream(caller, ASKED | {"stream": True}, x_simulate="stall=3") as answer:
        await tokens_heard(answer, 3)
    record = await site.settlement(answer)
    assert record["outcome"] == "kept"
    assert await site.spent(caller) == COST


async def test_a_client_that_hangs_up_is_charged_by_the_size_of_what_it_got() -> None:
    """Other streams, with twice the tokens, have told the worker how many bytes one takes."""
    async with running_site(filters=lean_chain()) as site:
        caller = await site.caller()
        answers = [await site.post(caller, ASKED | {"stream": True}, x_simulate=f"tokens={SAID}") for _ in range(SEEN)]
        await site.settled([answer.headers["x-headrace-exchange"] for answer in answers])
        async with site.stream(caller, ASKED | {"stream": True}, x_simulate=f"tokens={SAID} stall={SAID // 2}") as answer:
            await tokens_heard(answer, SAID // 2)
        record = await site.settlement(answer)
        assert (record["outcome"], record.get("answer_sized")) == ("settled", True)
        assert abs(record["usage"]["output_tokens"] - SAID // 2) <= 1
        assert await site.spent(caller) == SEEN * (PROMPT + SAID) + PROMPT + record["usage"]["output_tokens"]


@pytest.mark.parametrize(("team", "charged"), [("plain", 8 + CAP), ("counted", 8 + HANG_UP_AFTER)])
async def test_an_anthropic_stream_that_is_hung_up_is_not_charged_for_its_prompt_alone(site: Site, team: str, charged: int) -> None:
    """Its first event reports usage: the prompt's, and an answer that has only begun."""
    caller = await site.caller(team, app=f"claude-{team}")
    asked = {"model": "claude-x", "max_tokens": CAP, "stream": True, "messages": [{"role": "user", "content": "hi"}]}
    async with site.stream(caller, asked, MESSAGES, x_simulate=f"stall={HANG_UP_AFTER}") as answer:
        heard = 0
        async for line in answer.aiter_lines():
            heard += line.startswith("data:") and "text_delta" in line
            if heard == HANG_UP_AFTER:
                break
    await site.settlement(answer)
    assert await site.spent(caller) == charged


@pytest.mark.parametrize(("team", "charged"), [("plain", COST), ("counted", PROMPT + SAID)])
async def test_a_stream_whose_provider_reports_no_usage_is_charged_what_was_streamed_where_it_is_read(
    site: Site, team: str, charged: int
) -> None:
    caller = await site.caller(team, app=f"silent-{team}")
    answer = await site.post(caller, ASKED | {"stream": True}, x_simulate=f"tokens={SAID} usage=false")
    await site.settlement(answer)
    assert await site.spent(caller) == charged


async def test_a_json_answer_nobody_waited_for_is_charged_what_was_reserved(site: Site) -> None:
    caller = await site.caller("plain", app="plain-json")
    asking = asyncio.create_task(site.post(caller, ASKED, x_simulate="stall=3"))
    await site.standard.books.until(lambda books: books.completion_tokens == 3)
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    [decision] = await site.decisions(caller)
    [record] = await site.settled([decision["exchange"]])
    assert record["outcome"] == "kept"
    assert await site.spent(caller) == COST


async def test_the_official_sdk_does_not_retry_a_dead_budget(site: Site) -> None:
    caller = await site.caller(app="dead")
    for _ in range(WORTH):
        assert (await site.post(caller, ASKED, x_simulate=f"tokens={CAP}")).status_code == 200
    before = await site.requests_seen()
    async with site.openai(caller) as patient:
        assert patient.max_retries > 0
        error = await refused_by_budget(patient)
    assert error.response.headers["x-should-retry"] == "false"
    assert await site.requests_seen() == before + 1


async def test_the_official_sdk_waits_for_a_budget_that_comes_back_soon() -> None:
    budgets = [{"name": "user-burst", "per": ["user"], "limit": {"requests": 1}, "window": {"sliding": 2}}]
    async with running_site(budgets=budgets) as site, site.openai(await site.caller()) as client:
        await asyncio.gather(*(client.chat.completions.create(**ASKED) for _ in range(2)))
        assert await site.requests_seen() > len(site.received) == 2


async def refused_by_budget(client: AsyncOpenAI) -> RateLimitError:
    with pytest.raises(RateLimitError) as caught:
        await client.chat.completions.create(**ASKED)
    assert caught.value.code == "budget.exhausted"
    return caught.value


async def test_fifty_official_clients_at_once_share_seven(site: Site) -> None:
    caller = await site.caller(app="sdk")
    async with AsyncOpenAI(base_url=f"{site.stack.url}/v1", api_key=caller.secret, max_retries=0) as client:
        calls = (client.chat.completions.create(**ASKED, extra_headers={"x-simulate": f"tokens={CAP}"}) for _ in range(AT_ONCE))
        results = await asyncio.gather(*calls, return_exceptions=True)
    refused = [error for error in results if isinstance(error, RateLimitError)]
    assert len(refused) == AT_ONCE - WORTH == AT_ONCE - len(site.received)
    assert {error.code for error in refused} == {"budget.exhausted"}


async def test_an_exhausted_budget_is_told_to_anthropics_clients_in_their_words(site: Site) -> None:
    caller = await site.caller(app="claude")
    ask = {"model": "claude-sonnet", "max_tokens": WORTH * COST, "messages": [{"role": "user", "content": "hi"}]}
    answer = await site.post(caller, ask, "/v1/messages")
    assert answer.status_code == 429
    document = answer.json()
    assert (document["type"], document["error"]["type"]) == ("error", "rate_limit_error")
    assert document["error"]["code"] == "budget.exhausted"
    assert answer.headers["x-should-retry"] == "false"
    assert not site.received


async def test_every_choice_of_one_call_is_charged(site: Site) -> None:
    caller = await site.caller(app="choices")
    answer = await site.post(caller, ASKED | {"n": 3}, CHAT, x_simulate=f"tokens={SAID}")
    await site.settlement(answer)
    assert await site.spent(caller) == PROMPT + 3 * SAID


async def test_a_raise_counts_in_every_worker_and_exactly(site: Site) -> None:
    """As `headrace budget raise` does it, beside the running service."""
    caller = await site.caller(app="raised")

    async def burst() -> int:
        answers = await asyncio.gather(*(site.post(caller, ASKED, x_simulate=f"tokens={CAP}") for _ in range(WORTH + 3)))
        assert {answer.status_code for answer in answers} <= {200, 429}
        return sum(answer.status_code == 200 for answer in answers)

    assert await burst() == WORTH
    await raised(site, "app-month", 2 * COST, {"app": "raised"})
    admitted = 0

    async def both() -> bool:
        nonlocal admitted
        admitted += await burst()
        return admitted >= 2

    await until(both, "the raise counts")
    assert (admitted, await burst()) == (2, 0)


async def raised(site: Site, budget: str, amount: int, whom: dict[str, str]) -> None:
    policy, store = compiled(site.stack.policy), open_store(site.stack.store_url)
    assert not isinstance(policy, Exception)
    try:
        desk = Desk(limits_of(policy.document, lambda *_: None), store, SystemClock())
        await desk.request(Change("raise", budget, "ann", str(amount), whom=whom))
    finally:
        await store.close()
