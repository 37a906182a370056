"""The first pool that holds prompt and answer, by exact count."""

import json
from pathlib import Path
from typing import Any

import pytest

from headrace.ext_proc.core.effects import Settle
from headrace.ext_proc.core.events import Answer, Proceed, Refuse
from headrace.ext_proc.core.exchange import Exchange
from headrace.ext_proc.core.needs import Capability
from headrace.ext_proc.core.settlement import Finished, settlement
from headrace.ext_proc.engine.policy.compile import Policy
from tests.filters.compiled import compiled, exchange_with
from tests.kit import body, decision_in, last, post

POLICY = """
    version: 1
    upstreams: {small: {url: "http://127.0.0.1:1"}, large: {url: "http://127.0.0.1:2"}}
    models:
      - {name: m, max_output: 50, context: 900, pools: [{upstream: small, max_tokens: 100}, {upstream: large, max_tokens: 500}]}
      - {name: open, max_output: 50, pools: [{upstream: small, max_tokens: 100}, {upstream: large}]}
      - {name: poolless}
    filters: [{routing: {}}, {usage: {mode: "off"}}]
"""
# "word " × n is n tokens of o200k_base; the chat formula adds 3 for the message, 1 for the role, 3 for the answer's start.
FRAME = 7


@pytest.fixture
def policy(tmp_path: Path) -> Policy:
    return compiled(tmp_path, POLICY)


async def routed(policy: Policy, **members: Any) -> tuple[Answer, Exchange]:
    exchange = exchange_with(policy, Capability.ACCESS_LOG)
    document = {"model": "m", "messages": [{"role": "user", "content": "hi"}]} | members
    return await last(exchange, post(), body(document)), exchange


def words(count: int) -> list[dict[str, str]]:
    return [{"role": "user", "content": " word" * count}]


def route(answer: Answer) -> str | None:
    assert isinstance(answer, Proceed)
    return answer.edits.set_headers.get("x-headrace-route")


def refusal(answer: Answer) -> tuple[int, str, str]:
    assert isinstance(answer, Refuse)
    return answer.status, answer.reason, json.loads(answer.body)["error"]["message"]


@pytest.mark.parametrize(("count", "pool"), [(100 - FRAME - 50, "small"), (101 - FRAME - 50, "large")])
async def test_a_pool_is_taken_up_to_its_last_token(policy: Policy, count: int, pool: str) -> None:
    answer, _ = await routed(policy, messages=words(count))
    assert route(answer) == pool


async def test_the_answers_cap_counts_for_every_choice(policy: Policy) -> None:
    one, _ = await routed(policy, max_tokens=40)
    three, _ = await routed(policy, max_tokens=40, n=3)
    assert (route(one), route(three)) == ("small", "large")


async def test_of_two_caps_the_larger_counts(policy: Policy) -> None:
    answer, _ = await routed(policy, max_tokens=1, max_completion_tokens=400)
    assert route(answer) == "large"


async def test_the_route_is_chosen_anew_and_told_to_the_caller(policy: Policy) -> None:
    answer, exchange = await routed(policy, messages=words(80))
    assert isinstance(answer, Proceed)
    assert answer.edits.reroute
    assert answer.metadata["route"] == "large"
    assert answer.metadata["reason"] == "routing.prompt_size"
    (step,) = decision_in(exchange.close())["steps"]
    assert step["note"]["input_tokens"] == 80 + FRAME
    assert [candidate["fits"] for candidate in step["note"]["candidates"]] == [False, True]


async def test_what_no_pool_holds_is_refused_with_the_numbers(policy: Policy) -> None:
    answer, _ = await routed(policy, messages=words(80), max_tokens=450)
    status, reason, message = refusal(answer)
    assert (status, reason) == (413, "routing.too_large")
    assert f"{80 + FRAME + 450} tokens" in message
    assert "500" in message


async def test_more_than_the_models_context_is_refused_with_the_numbers(policy: Policy) -> None:
    answer, _ = await routed(policy, max_tokens=899)
    status, reason, message = refusal(answer)
    assert (status, reason) == (400, "context.exceeded")
    assert "900 tokens" in message


async def test_a_pool_without_a_limit_takes_everything(policy: Policy) -> None:
    answer, _ = await routed(policy, model="open", messages=words(5000))
    assert route(answer) == "large"


async def test_a_model_without_pools_keeps_the_gateways_own_route(policy: Policy) -> None:
    answer, exchange = await routed(policy, model="poolless")
    assert route(answer) is None
    assert decision_in(exchange.close())["steps"][0]["reason"] == "routing.no_pools"


async def test_a_model_that_is_not_in_the_catalogue_is_refused(policy: Policy) -> None:
    answer, _ = await routed(policy, model="gpt-∞")
    assert refusal(answer)[:2] == (403, "model.not_allowed")


async def test_a_model_beside_the_one_asked_for_that_is_not_in_the_catalogue_is_refused(policy: Policy) -> None:
    answer, _ = await routed(policy, model="open", models=["open", "gpt-∞"])
    assert refusal(answer)[:2] == (403, "model.not_allowed")
    answer, _ = await routed(policy, model="open", models=["open"])
    assert route(answer) == "small"


PRICED = """
version: 1
upstreams: {standard: {url: "http://127.0.0.1:1"}}
models:
  - {name: llama, price: {input: 10, output: 20}, pools: [{upstream: standard, model: small}]}
  - {name: small, price: {input: 1, output: 2}}
budgets: [{name: b, per: [organisation], limit: {usd: 10}, window: day}]
"""


@pytest.mark.parametrize("chain", ["[{budget: {}}, {routing: {}}]", "[{routing: {}}, {budget: {}}]"])
async def test_without_failover_the_pools_own_model_is_written_and_charged_here(chain: str, tmp_path: Path) -> None:
    exchange = exchange_with(compiled(tmp_path, f"{PRICED}filters: {chain}\n"), Capability.ACCESS_LOG)
    answer = await last(exchange, post(), body({"model": "llama", "messages": [{"role": "user", "content": "hi"}]}))
    assert isinstance(answer, Proceed)
    assert answer.body is not None
    assert json.loads(answer.body)["model"] == "small"
    [effect] = settlement(Finished(answer.metadata, {"prompt_tokens": 3.0, "completion_tokens": 4.0}, 200, True))
    assert isinstance(effect, Settle)
    assert effect.price is not None
    assert (effect.price.input, effect.price.output) == ("1", "2")
