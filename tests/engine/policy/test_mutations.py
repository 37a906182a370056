"""Policies with small mistakes anywhere: whatever was mistyped, what the operator reads has a line and speaks of the policy."""

import os
import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from headrace.ext_proc.engine.clock import SystemClock
from headrace.ext_proc.engine.policy.compile import compile_policy
from headrace.ext_proc.engine.policy.problems import PolicyErrors, Problem
from headrace.ext_proc.engine.registry import Ports, Registry
from headrace.ext_proc.stores.memory import MemoryStore
from tests.filters.compiled import Inline

POLICIES = Path(__file__).parents[3] / "policies"
EXAMPLES = 5000 if os.environ.get("HEADRACE_LONG") else 200

RICH = """version: 1
upstreams:
  standard: {url: "http://127.0.0.1:9001", tags: [eu], metrics: vllm, servers: ["10.0.0.1:80"], max_queue: 3}
  large: {url: "http://127.0.0.1:9002", dialect: openai, api_key: {env: PATH}}
models:
  - name: llama-3.3-70b
    tokenizer: o200k_base
    context: 131072
    price: {input: 0.60, output: 0.80, cached_input: 0.1}
    service_tiers: {batch: 0.5}
    pools: [{upstream: standard, max_tokens: 8192}, {upstream: large, model: x}]
  - {name: gpt-4o, template: openai, price: auto, pools: [{upstream: standard, weight: 1}]}
  - {name: auto, served_by: [{model: llama-3.3-70b, suits: large}, gpt-4o]}
  - {name: old, sunset: 2026-12-31, successor: gpt-4o, price: {input: 1, output: 1}}
identity:
  - jwt: {jwks: "https://idp.example.com/jwks.json", audience: llm, claims: {team: groups.0, user: sub}, algorithms: [RS256]}
  - headers: {team: x-team, user: x-user}
time_zone: Europe/Berlin
budgets:
  - {name: team-month, per: [team], limit: {usd: 500}, window: month, warn_at: [0.5]}
  - {name: user-day, per: [team, user], limit: {tokens: 200000}, window: {sliding: 3600}}
  - {name: at-once, per: [team], limit: {concurrency: 4}}
filters:
  - identity: {mode: enforce, on_error: closed, timeout_ms: 500}
  - pii:
      request: {default: replace, CREDIT_CARD: {mask: 4}, TICKET: {route: large}}
      model: none
      entities: [EMAIL_ADDRESS, CREDIT_CARD, TICKET]
      recognizers: [{entity: TICKET, patterns: [{regex: "T-[0-9]{6}", score: 0.6}], context: [ticket]}]
      thresholds: {EMAIL_ADDRESS: 0.5}
      languages: [en]
  - routing: {tags: [eu], prefer: [price], max_price: {output: 5}, accept: ["llama-*", gpt-4o]}
  - budget: {on_store_down: closed, lease_seconds: 600}
overrides:
  - {when: {team: research}, set: {pii: {mode: shadow}}}
  - {when: {team: [a, "b-*"], user: ann}, set: {budget: {on_error: open}}}
other_paths: [GET /v1/models]
"""
# A language model takes seconds to load, and no message of a policy depends on it.
TEXTS = (RICH, (POLICIES / "example.yaml").read_text().replace("pii: {", "pii: {model: none, "))

WORDS = (
    "", "null", "true", "0", "-1", "5", "1e9", "1.5", "''", "x", "on", "'5'", "month", "1h", "10 MB", "[]", "{}", "[a]",
    "{a: 1}", "'*'", "'('", "9" * 40, "[[]]", "[null]", "{'': null}", "2026-02-30", "*a", "&a", "!!int 5", "[", "{", "'",
    '"\\ud800"', "\t", "\u00e9", "<<",
)  # fmt: skip
TOKEN = re.compile(r"[^\s{}\[\],:#]+")


class Edit(NamedTuple):
    """at: which line, column or token, counted on past the end."""

    how: str
    line: int
    at: int
    word: str


def token(line: str, at: int, word: str) -> str:
    tokens = list(TOKEN.finditer(line))
    if not tokens:
        return line
    start, end = tokens[at % len(tokens)].span()
    return line[:start] + word + line[end:]


def character(line: str, at: int, word: str) -> str:
    at %= len(line) + 1
    return line[:at] + line[at + 1 :]


def inserted(line: str, at: int, word: str) -> str:
    at %= len(line) + 1
    return line[:at] + word + line[at:]


OF_A_LINE: Mapping[str, Callable[[str, int, str], str]] = {
    "replace a token": token,
    "leave out a character": character,
    "insert": inserted,
    "indent": lambda line, at, word: " " * (at % 5) + line,
    "dedent": lambda line, at, word: line[at % 5 :] if not line[: at % 5].strip() else line.lstrip(),
    "capitals": lambda line, at, word: token(line, at, word.upper()),
}
OF_LINES: Mapping[str, Callable[[Sequence[str], int], Sequence[str]]] = {
    "take a line away": lambda lines, at: [*lines[:at], *lines[at + 1 :]],
    "repeat a line": lambda lines, at: [*lines[: at + 1], *lines[at:]],
    "move a line": lambda lines, at: [*lines[:at], *lines[at + 1 : at + 3], lines[at], *lines[at + 3 :]],
    "end there": lambda lines, at: lines[:at],
}


def edited(text: str, edit: Edit) -> str:
    lines = text.splitlines()
    if not lines:
        return text
    at = edit.line % len(lines)
    if edit.how in OF_LINES:
        return "\n".join(OF_LINES[edit.how](lines, at)) + "\n"
    lines[at] = OF_A_LINE[edit.how](lines[at], edit.at, edit.word)
    return "\n".join(lines) + "\n"


edits = st.builds(
    Edit,
    st.sampled_from([*OF_A_LINE, *OF_LINES, *["replace a token"] * 4]),
    st.integers(0, 99),
    st.integers(0, 199),
    st.sampled_from(WORDS),
)


@cache
def registry() -> Registry:
    return Registry.installed()


def problems(path: Path) -> Sequence[Problem]:
    try:
        return compile_policy(path, registry(), Ports(MemoryStore(), SystemClock(), Inline())).remarks
    except PolicyErrors as errors:
        return errors.problems


PROGRAMMERS = re.compile(r"\b[A-Z]\w+(Error|Exception)\b|Traceback|NoneType|instance of|should match|should be|pydantic|unhashable")


@pytest.mark.parametrize("text", TEXTS, ids=["rich", "example"])
def test_the_policies_that_are_changed_have_no_problem(text: str, tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text(text)
    assert list(problems(tmp_path / "p.yaml")) == []


@settings(max_examples=EXAMPLES, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.sampled_from(TEXTS), changes=st.lists(edits, min_size=1, max_size=3))
def test_every_mistake_has_a_line_and_is_told_in_the_words_of_the_policy(
    text: str, changes: Sequence[Edit], tmp_path_factory: pytest.TempPathFactory
) -> None:
    for change in changes:
        text = edited(text, change)
    path = tmp_path_factory.getbasetemp() / "mutated.yaml"
    path.write_bytes(text.encode())
    for problem in problems(path):
        note(str(problem))
        assert problem.file == str(path)
        assert 1 <= problem.line <= text.count("\n") + 1
        assert problem.message
        assert "\n" not in problem.message
        assert not PROGRAMMERS.search(problem.message)
        assert len(problem.message) < 1500
