"""Prompts whose bytes fit are not counted, where counting would take longer than deciding."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.ext_proc.core.events import Proceed
from headrace.ext_proc.core.needs import Capability
from headrace.ext_proc.engine.counting.counter import QUICK
from headrace.ext_proc.engine.policy.compile import Policy
from tests.filters.compiled import compiled, exchange_with
from tests.kit import body, decision_in, last, post
from tests.tokenizer_files import words, write

POLICY = """
    version: 1
    upstreams: {a: {url: "http://127.0.0.1:1"}, b: {url: "http://127.0.0.1:2"}}
    models:
      - {name: m, tokenizer: {file: tokenizer.json}, price: {input: 1, output: 1}, max_output: 10,
         pools: [{upstream: a, max_tokens: 200}, {upstream: b, max_tokens: 100000}]}
      - {name: wide, price: {input: 1, output: 1}, max_output: 10, pools: [{upstream: a}]}
      - {name: gpt-4o-wide, max_output: 10, pools: [{upstream: a}]}
    filters: [{routing: {SETTINGS}}, {usage: {mode: "off"}}]
"""


def _with_tokenizer(folder: Path) -> Path:
    """Of words, each one token."""
    write(folder / "tokenizer.json", words())
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return _with_tokenizer(tmp_path)


async def noted(folder: Path, text: str, model: str = "m", setting: str = "", trial: bool = False) -> tuple[str, dict[str, Any]]:
    """(upstream, the filter's note)"""
    return await decided(compiled(folder, POLICY.replace("SETTINGS", setting)), text, model, trial)


async def decided(policy: Policy, text: str, model: str = "m", trial: bool = False) -> tuple[str, dict[str, Any]]:
    capabilities = Capability.ACCESS_LOG | (Capability.TRIAL if trial else Capability.NOTHING)
    exchange = exchange_with(policy, capabilities)
    answer = await last(exchange, post(), body({"model": model, "messages": [{"role": "user", "content": text}]}))
    assert isinstance(answer, Proceed), answer
    return str(answer.metadata["route"]), decision_in(exchange.close())["steps"][0]["note"]


async def test_a_prompt_that_no_pool_could_refuse_is_not_counted(folder: Path) -> None:
    route, note = await noted(folder, "hello there")
    assert route == "a"
    assert (note["input_tokens_at_most"], "input_tokens" in note) == (6 + 4 + 11, False)


async def test_one_whose_bytes_say_too_little_is(folder: Path) -> None:
    route, note = await noted(folder, "word " * 60)
    assert (route, note["input_tokens"]) == ("a", 6 + 1 + 60)


async def test_a_trial_counts_everything(folder: Path) -> None:
    _, note = await noted(folder, "hello there", trial=True)
    assert note["input_tokens"] == 6 + 1 + 2


async def test_a_preference_that_hangs_on_the_count_has_it(folder: Path) -> None:
    _, note = await noted(folder, "hello there", setting="prefer: [price]")
    assert "input_tokens" in note


@pytest.mark.parametrize(("model", "skipped"), [("wide", True), ("gpt-4o-wide", True)])
async def test_what_the_loop_would_count_at_once_is_counted(folder: Path, model: str, skipped: bool) -> None:
    _, short = await noted(folder, "x" * 100, model)
    assert "input_tokens" in short
    _, long = await noted(folder, "x" * (QUICK + 1), model)
    assert ("input_tokens_at_most" in long) is skipped


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Policy:
    return compiled(_with_tokenizer(tmp_path_factory.mktemp("policy")), POLICY.replace("SETTINGS", ""))


@given(text=st.text(max_size=300))
@settings(max_examples=60, deadline=None)
async def test_the_same_pool_is_chosen_as_with_the_count(policy: Policy, text: str) -> None:
    assert (await decided(policy, text))[0] == (await decided(policy, text, trial=True))[0]
