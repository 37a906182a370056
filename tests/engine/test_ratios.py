"""Estimates of prompts, corrected by what providers report."""

import json
import random
from pathlib import Path
from typing import Any

import pytest

from headrace.ext_proc.core.effects import Record
from headrace.ext_proc.core.events import Proceed
from headrace.ext_proc.core.exchange import Exchange
from headrace.ext_proc.core.needs import Capability
from headrace.ext_proc.core.settlement import Finished, settlement
from headrace.ext_proc.engine.bookkeeping import Money, record_of
from headrace.ext_proc.engine.guard import shield
from headrace.ext_proc.engine.policy.compile import Policy
from headrace.ext_proc.engine.ratios import LEAST, MODELS, MOST, SEEN, Ratios
from tests.filters.compiled import compiled
from tests.kit import body, decision_in, last, post


def learned(*reports: tuple[int, int]) -> float:
    """reports: (reported, estimated)"""
    ratios = Ratios()
    for reported, estimated in reports:
        ratios.learn("m", reported, estimated)
    return ratios.of("m")


def test_a_few_reports_correct_nothing() -> None:
    assert learned(*[(200, 100)] * (SEEN - 1)) == 1.0
    assert learned(*[(200, 100)] * SEEN) == pytest.approx(2.0)


def test_the_ratio_follows_a_model_that_changes() -> None:
    assert learned(*[(200, 100)] * 100, *[(130, 100)] * 300) == pytest.approx(1.3, abs=0.01)


def test_one_long_prompt_weighs_no_more_than_its_share() -> None:
    unbounded = (49 * 120 + 4_000_000) / (49 * 100 + 1_000_000)
    assert learned(*[(120, 100)] * 200, (4_000_000, 1_000_000)) < 2.5 < unbounded


def test_a_ratio_stays_within_its_bounds() -> None:
    assert learned(*[(10**9, 1)] * SEEN) == MOST
    assert learned(*[(1, 1000)] * SEEN) == LEAST


def test_ratios_are_bounded_in_number() -> None:
    ratios = Ratios()
    for number in range(MODELS + 1):
        for _ in range(SEEN):
            ratios.learn(f"m{number}", 2, 1)
    assert ratios.of("m0") == 1.0
    assert ratios.of(f"m{MODELS}") == 2.0


def test_estimates_of_a_model_come_nearer_to_what_it_reports() -> None:
    """A tokenizer that is off by a fifth, and by chance a little each time: the error that is left is the chance alone."""
    chance, ratios = random.Random(3), Ratios()
    errors = []
    for _ in range(400):
        estimated = chance.randint(50, 5000)
        reported = round(estimated * 1.2 * chance.uniform(0.95, 1.05))
        errors.append(abs(estimated * ratios.of("m") / reported - 1))
        ratios.learn("m", reported, estimated)
    assert sum(errors[:SEEN]) / SEEN > 0.12
    assert sum(errors[-200:]) / 200 < 0.03


@pytest.mark.parametrize(
    ("kind", "members"),
    [
        ("settlement", {"model": "m", "usage": {"input_tokens": 30}}),
        ("settlement", {"model": "m", "estimated": 10}),
        ("settlement", {"estimated": 10, "usage": {"input_tokens": 30}}),
        ("decision", {"metadata": {"model": "m"}, "estimated": 10, "usage": {"input_tokens": 30}, "reserved": {}}),
        ("decision", {"model": "m", "metadata": {}, "estimated": 10, "usage": {"input_tokens": 30}}),
    ],
)
def test_records_that_say_too_little_or_say_it_twice_teach_nothing(kind: str, members: dict[str, Any]) -> None:
    ratios = Ratios()
    for _ in range(SEEN):
        ratios.observe(Record(kind, members))
    assert ratios.of("m") == 1.0


POLICY = """
    version: 1
    upstreams: {a: {url: "http://127.0.0.1:1"}}
    models:
      - {name: claude-x, price: {input: 1, output: 1}, max_output: 10, pools: [{upstream: a}]}
      - {name: exact, tokenizer: o200k_base, price: {input: 1, output: 1}, max_output: 10, pools: [{upstream: a}]}
    budgets: [{name: day, per: [organisation], limit: {tokens: 100000}, window: day}]
    filters: [ORDER]
"""


async def exchanged(policy: Policy, model: str, ratios: Ratios, reported: int) -> dict[str, Any]:
    """The decision of one exchange whose gateway reports so many tokens of prompt."""
    exchange = Exchange("e1", policy, shield, capabilities=Capability.ACCESS_LOG)
    answer = await last(exchange, post(), body({"model": model, "messages": [{"role": "user", "content": "hello there"}]}))
    assert isinstance(answer, Proceed)
    usage = {"prompt_tokens": reported, "completion_tokens": 1}
    for effect in settlement(Finished(json.loads(json.dumps(answer.metadata)), usage, 200, reached_upstream=True)):
        assert isinstance(effect, Money)
        ratios.observe(record_of(effect, "settled"))
    return dict(decision_in(exchange.close()))


@pytest.mark.parametrize("order", ["{budget: {}}, {routing: {}}", "{routing: {}}, {budget: {}}"])
async def test_what_is_reserved_and_routed_by_follows_what_was_reported(tmp_path: Path, order: str) -> None:
    ratios = Ratios()
    policy = compiled(tmp_path, POLICY.replace("ORDER", order), ratios=ratios)
    first = await exchanged(policy, "claude-x", ratios, 18)
    assert (first["input_tokens"], first["estimated"]) == (9, 9)
    for _ in range(SEEN):
        await exchanged(policy, "claude-x", ratios, 18)
    corrected = await exchanged(policy, "claude-x", ratios, 18)
    assert (corrected["input_tokens"], corrected["estimated"]) == (18, 9)
    assert corrected["reserved"]["input_tokens"] == 18


async def test_a_count_that_is_exact_is_not_corrected(tmp_path: Path) -> None:
    ratios = Ratios()
    policy = compiled(tmp_path, POLICY.replace("ORDER", "{budget: {}}, {routing: {}}"), ratios=ratios)
    for _ in range(SEEN + 1):
        found = await exchanged(policy, "exact", ratios, 18)
    assert (found["input_tokens"], "estimated" in found) == (9, False)
