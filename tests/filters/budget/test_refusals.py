"""When a budget refuses, and what its caller reads."""

import json
from typing import Any

import pytest

from headrace.ext_proc.core.events import Proceed, Refuse
from headrace.ext_proc.core.ledger import Charge, Fixed, Unit
from headrace.ext_proc.core.ports import NeverSent, StoreUnavailable
from headrace.ext_proc.core.terms import read
from headrace.ext_proc.engine.budgets.amounts import quantity
from headrace.ext_proc.stores.local import LocalAllowance
from headrace.ext_proc.stores.memory import MemoryStore
from headrace.filters.budget.words import ratelimit
from tests.filters.budget.support import (
    BODY,
    MINUTE,
    PRICED,
    TOKENS_A_DAY,
    Rig,
    error_of,
    money,
)


async def test_an_exhausted_budget_refuses_and_says_which_and_until_when(rig: Rig) -> None:
    rig.budgets = [TOKENS_A_DAY | {"limit": {"tokens": 150}}]
    await rig.ask()
    exchange, answer = await rig.ask()
    assert isinstance(answer, Refuse) and answer.status == 429
    assert error_of(answer) == {
        "message": "The budget 'user-day' allows 150 tokens per day; 50 tokens left, and this request needs up to 100 tokens. "
        "Try again at 2026-11-19T00:00:00Z.",
        "type": "rate_limit_error",
        "param": None,
        "code": "budget.exhausted",
    }
    assert "retry-after" not in answer.headers  # Codex and opencode would sleep for hours
    assert answer.headers["x-should-retry"] == "false"
    assert answer.headers["x-ratelimit-reset-tokens"] == "12h53m0s"
    assert answer.headers["x-ratelimit-remaining-tokens"] == "50"
    assert money(exchange.close()) == []
    assert await rig.used("user-day:research/ann") == 100


async def test_a_wait_of_a_minute_is_left_to_the_callers_sdk(rig: Rig) -> None:
    rig.budgets = [TOKENS_A_DAY | {"limit": {"tokens": 150}, "window": "minute"}]
    await rig.ask()
    rig.clock.at_ms += 1
    _, answer = await rig.ask()
    assert isinstance(answer, Refuse)
    assert answer.headers["retry-after"] == "60" and "x-should-retry" not in answer.headers
    rig.clock.at_ms = MINUTE.end_ms
    _, answer = await rig.ask()
    assert isinstance(answer, Proceed)


async def test_a_request_that_no_window_could_hold_is_told_so(rig: Rig) -> None:
    rig.budgets = [TOKENS_A_DAY | {"limit": {"tokens": 99}}]
    _, answer = await rig.ask()
    assert isinstance(answer, Refuse) and answer.status == 429
    assert error_of(answer)["message"] == (
        "The budget 'user-day' allows 99 tokens per day at all, and this request needs up to 100 tokens. "
        "Shorten the prompt or ask for a shorter answer."
    )
    assert answer.headers["x-should-retry"] == "false" and "retry-after" not in answer.headers


async def test_a_refusal_is_in_the_callers_dialect(rig: Rig) -> None:
    rig.budgets = [TOKENS_A_DAY | {"limit": {"tokens": 10}}]
    _, answer = await rig.ask(BODY, "/v1/messages")
    assert isinstance(answer, Refuse)
    document = json.loads(answer.body)
    assert document["type"] == "error"
    assert document["error"]["type"] == "rate_limit_error" and document["error"]["code"] == "budget.exhausted"


@pytest.mark.parametrize("unit", ["usd", "tokens"])
async def test_an_amount_beyond_counting_is_refused_not_an_error(rig: Rig, unit: str) -> None:
    rig.models = [{**PRICED, "price": {"input": 1_000_000, "output": 1_000_000}}]
    rig.budgets = [TOKENS_A_DAY | {"limit": {unit: 9_000_000}}]
    _, answer = await rig.ask({**BODY, "max_tokens": 2**31, "n": 128})
    assert error_of(answer)["code"] == "budget.exhausted"


async def test_in_shadow_mode_an_exhausted_budget_refuses_nobody(rig: Rig) -> None:
    rig.settings = {"mode": "shadow"}
    rig.budgets = [TOKENS_A_DAY | {"limit": {"tokens": 150}}]
    await rig.ask()
    exchange, answer = await rig.ask()
    assert isinstance(answer, Proceed)
    step_of = next(step for step in exchange.decision.steps if step["filter"] == "budget" and step["phase"] == "request")
    assert (step_of["outcome"], step_of["reason"]) == ("would_reply", "budget.exhausted")


class Away(MemoryStore):
    """error: what every reservation meets."""

    def __init__(self, error: StoreUnavailable) -> None:
        super().__init__()
        self._error = error

    async def reserve(self, *_: Any, **__: Any) -> Any:
        raise self._error


@pytest.mark.parametrize(("error", "released"), [(NeverSent("away"), 0), (StoreUnavailable("its reply was lost"), 1)])
async def test_a_lease_that_the_store_cannot_have_is_not_released(rig: Rig, error: StoreUnavailable, released: int) -> None:
    rig.store = LocalAllowance(Away(error))
    exchange, answer = await rig.ask()
    assert isinstance(answer, Refuse) and error_of(answer)["code"] == "budget.unavailable"
    assert len(money(exchange.close())) == released


async def test_a_model_outside_the_catalogue_is_refused(rig: Rig) -> None:
    _, answer = await rig.ask({**BODY, "model": "gpt-y"})
    assert isinstance(answer, Refuse) and answer.status == 403 and error_of(answer)["code"] == "model.not_allowed"


async def test_a_model_without_a_price_is_not_charged_to_a_budget_of_money(rig: Rig) -> None:
    rig.models = [{"name": "in-house-*"}]
    rig.budgets = [TOKENS_A_DAY, TOKENS_A_DAY | {"name": "cost", "limit": {"usd": 5}}]
    _, answer = await rig.ask({**BODY, "model": "in-house-1"})
    assert isinstance(answer, Refuse) and answer.status == 403
    assert error_of(answer)["code"] == "budget.unpriced" and "'cost'" in error_of(answer)["message"]
    assert await rig.used("user-day:research/ann") == 0


async def test_a_price_that_cannot_be_known_is_found_when_the_policy_is_compiled(rig: Rig) -> None:
    rig.models = [PRICED, {"name": "in-house-1"}, {"name": "gpt-4o"}]
    rig.budgets = [TOKENS_A_DAY | {"limit": {"usd": 5}}]
    rig.chain()
    assert [where for where, _ in rig.problems] == [("models", 1, "price")]


async def test_money_beyond_exact_counting_is_found_when_the_policy_is_compiled(rig: Rig) -> None:
    rig.budgets = [TOKENS_A_DAY | {"limit": {"usd": 9_007_200}}, TOKENS_A_DAY | {"name": "b", "limit": {"usd": 9_007_199}}]
    rig.chain()
    assert rig.problems == [(("budgets", 0, "limit", "usd"), "must be at most 9,007,199 USD; split it over shorter windows")]


async def test_budgets_that_count_no_money_need_no_price(rig: Rig) -> None:
    rig.models = [{"name": "in-house-1"}]
    _, answer = await rig.ask({**BODY, "model": "in-house-1"})
    assert isinstance(answer, Proceed)
    terms = read(answer.metadata["lease"])
    assert terms is not None and terms.price is None
    assert rig.problems == []


@pytest.mark.parametrize(
    ("unit", "amount", "words"),
    [
        ("tokens", 0, "0 tokens"),
        ("requests", 1, "1 request"),
        ("tokens", 1_234_567, "1,234,567 tokens"),
        ("nano_usd", 0, "$0.00"),
        ("nano_usd", 4_200_000, "$0.0042"),
        ("nano_usd", 500_000_000_000, "$500.00"),
        ("nano_usd", 1_234_567_000_000_001, "$1,234,567.000000001"),
    ],
)
def test_quantities_in_words(unit: Unit, amount: int, words: str) -> None:
    assert quantity(unit, amount) == words


@pytest.mark.parametrize(
    ("ms", "written"), [(1, "1s"), (60_000, "1m0s"), (61_001, "1m2s"), (3_600_000, "1h0m0s"), (90_061_000, "25h1m1s")]
)
def test_a_reset_is_written_as_openai_does(ms: int, written: str) -> None:
    charge = Charge("c", "tokens", 5, 1, Fixed(0, ms))
    assert ratelimit([charge], [4], 0)["ratelimit_reset_tokens"] == written
