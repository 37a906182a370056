"""What is reserved for whom, and what the gateway is told of it."""

import asyncio

from headrace.ext_proc.core.events import Proceed
from headrace.ext_proc.core.ledger import Sliding
from headrace.ext_proc.core.principal import Principal
from headrace.ext_proc.core.terms import read
from headrace.ext_proc.core.usage import Usage
from headrace.ext_proc.engine.offload import ThreadOffload
from headrace.ext_proc.stores.embedded import EmbeddedStore
from tests.filters.budget.support import (
    ANN,
    BODY,
    PRICED,
    PROMPT,
    TOKENS_A_DAY,
    Rig,
)
from tests.patience import patient_store


async def test_the_prompt_and_the_whole_answer_are_reserved_on_every_budget(rig: Rig) -> None:
    rig.budgets = [
        TOKENS_A_DAY,
        {"name": "team-day", "per": ["team"], "limit": {"usd": 0.5}, "window": "day"},
        {"name": "rate", "per": ["organisation"], "limit": {"requests": 10}, "window": {"sliding": 60}},
    ]
    _, answer = await rig.ask({**BODY, "n": 3})
    assert isinstance(answer, Proceed) and answer.last
    assert await rig.used("user-day:research/ann") == PROMPT + 3 * 92
    assert await rig.used("team-day:research", "nano_usd") == PROMPT * 1_000 + 3 * 92 * 2_000
    assert await rig.used("rate:acme", "requests", Sliding(60_000)) == 1


async def test_a_request_without_a_cap_reserves_the_models_own(rig: Rig) -> None:
    await rig.ask({"model": "gpt-x", "messages": BODY["messages"]})
    assert await rig.used("user-day:research/ann") == PROMPT + 50


async def test_the_access_log_is_told_what_it_takes_to_settle(rig: Rig) -> None:
    _, answer = await rig.ask()
    assert isinstance(answer, Proceed)
    told = {key: value for key, value in answer.metadata.items() if not key.startswith("ratelimit")}
    terms = read(told.pop("lease"))
    assert told == {"exchange": "x1", "model": "gpt-x", "settle": "access_log"}
    assert terms is not None and terms.price is not None
    named = {"organisation": "acme", "team": "research", "user": "ann", "asked": "gpt-x", "model": "gpt-x"}
    assert terms.members == named | {"endpoint": "chat", "stream": False, "estimated": PROMPT}
    assert (terms.price.input, terms.price.output, terms.most) == ("1", "2", Usage(PROMPT, 92))


async def test_the_callers_headers_show_the_tightest_budget_of_each_unit(rig: Rig) -> None:
    rig.budgets = [
        TOKENS_A_DAY,
        {"name": "minute", "per": ["team"], "limit": {"tokens": 150}, "window": "minute"},
        {"name": "rate", "per": ["team"], "limit": {"requests": 10}, "window": {"sliding": 3600}},
    ]
    rig.clock.at_ms += 1_000
    _, answer = await rig.ask()
    assert isinstance(answer, Proceed)
    assert {key: value for key, value in answer.metadata.items() if key.startswith("ratelimit")} == {
        "ratelimit_limit_tokens": "150",
        "ratelimit_remaining_tokens": "50",
        "ratelimit_reset_tokens": "59s",
        "ratelimit_limit_requests": "10",
        "ratelimit_remaining_requests": "9",
        "ratelimit_reset_requests": "1h0m0s",
    }


async def test_fifty_at_once_against_a_budget_worth_seven_are_seven() -> None:
    offload = ThreadOffload(1)
    with EmbeddedStore() as url:
        store = patient_store(url)
        rig = Rig(store, offload, budgets=[TOKENS_A_DAY | {"limit": {"tokens": 7 * 100 + 99}}])
        answers = [answer for _, answer in await asyncio.gather(*(rig.ask() for _ in range(50)))]
        assert sum(isinstance(answer, Proceed) for answer in answers) == 7
        assert await rig.used("user-day:research/ann") == 700
        await store.close()
    offload.close()


async def test_counters_belong_to_those_the_budget_names(rig: Rig) -> None:
    rig.budgets = [
        {"name": "b", "per": ["user"], "limit": {"tokens": 1000}, "window": "day"},
        {"name": "m", "per": ["model"], "limit": {"tokens": 1000}, "window": "day"},
        {"name": "both", "per": ["team", "user"], "limit": {"tokens": 1000}, "window": "day"},
    ]
    rig.models = [{**PRICED, "name": "gpt-*"}]
    for principal in (
        ANN,
        Principal("acme", team="research", user="bob"),
        Principal("other", team="research", user="ann"),
        Principal("acme", team="research/ann"),
        Principal("acme", team="research", user=None),
        Principal("acme", team=None, user=None),
    ):
        rig.principal = principal
        await rig.ask({**BODY, "model": f"gpt-{rig.exchanges}"})
    assert await rig.used("b:ann") == 100 and await rig.used("b:ann", organisation="other") == 100
    assert await rig.used("b:") == 300  # callers without a user share one counter
    assert await rig.used("m:gpt-%2A") == 500  # the catalogue's entry, not what the client chose to call it
    assert await rig.used("both:research/ann") == 100
    assert await rig.used("both:research%2Fann/") == 100 and await rig.used("both:research/") == 100
