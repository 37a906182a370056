"""The score of requests: what it makes of a table of prompts, its parts, and any body at all."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.filters.routing.complexity import SEEN, Scored, Scorer
from headrace.filters.routing.settings import Complexity

SCORER = Scorer(Complexity.model_validate({}))
LONG = "It says what the parties owe each other, and when. " * 40


def scored(text: Any, **members: Any) -> Scored:
    return SCORER.of({"messages": [{"role": "system", "content": "Prove it. " * 50}, {"role": "user", "content": text}], **members})


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("small", "What is the capital of France?"),
        ("small", "Translate 'good morning' to Spanish."),
        ("small", "Who wrote Middlemarch?"),
        ("small", "Summarise: the meeting moved to Tuesday, bring the slides."),
        ("small", "Rewrite this in a friendlier tone: Send me the file."),
        ("small", "Is this review positive or negative? The soup was cold."),
        ("small", "why is the sky blue"),
        ("small", ""),
        ("large", "Compare Kant and Hume on causation, evaluate both arguments, and reason step by step to a conclusion."),
        ("large", "Design a strategy for entering the Brazilian market and assess its trade-offs in a detailed plan."),
        ("large", "Prove that the square root of 2 is irrational, explain why each step holds, and derive the case of √3."),
        ("large", f"Analyse this contract for legal consequences.\n{LONG}"),
        (
            "large",
            "Answer each:\n1. Why did Rome fall?\n2. Compare it to Han China.\n3. Evaluate Gibbon.\n4. What follows?",
        ),
        ("code", "Write a Python function that merges two sorted lists."),
        ("code", "Fix this:\n```js\nconst a = [1, 2\n```"),
        ("code", "def f(x):\n    return x +\n\nclass A:\n    import os\n"),
        ("code", "Why does this SQL query need the bug workaround?\nSELECT * FROM t WHERE a = 1;"),
        ("code", "Traceback (most recent call last):\n  File 'x.py'\nKeyError: 'a'\nPlease debug this exception"),
        ("code", "Implement an LRU cache in Rust with unit tests."),
    ],
)
def test_a_table_of_prompts(kind: str, text: str) -> None:
    assert scored(text).kind == kind, scored(text)


def test_each_part_is_bounded_and_so_is_the_sum() -> None:
    everything = "prove derive compare evaluate assess \\frac ? ? ? ?\n1. a\n2. b\n" * 200
    many = [{"role": "user", "content": "again"}] * 9 + [{"role": "user", "content": everything}]
    found = SCORER.of({"messages": many, "tools": [{}], "response_format": {"type": "json_object"}})
    assert found.score == 100
    assert scored("x " * 4000).score == 30
    assert scored("```\n" + "x = 1;\n" * 100 + "python sql rust bash").code == 100


def test_tools_formats_and_turns_count() -> None:
    plain = scored("hi").score
    assert scored("hi", tools=[{"type": "function"}]).score == plain + 10
    assert scored("hi", response_format={"type": "json_object"}).score == plain + 5
    turns = [{"role": "user", "content": "hi"}] * 3
    assert SCORER.of({"messages": turns}).score == 4


def test_the_ends_of_a_long_turn_are_seen_and_its_middle_is_not() -> None:
    filler = "x" * SEEN
    assert scored(f"```{filler}").code == scored(f"{filler}```").code == 40
    assert scored(f"{filler}```{filler}").code == 0


def test_every_apis_words_are_read() -> None:
    code = "Write a Python function"
    parts = [{"type": "text", "text": code}, {"type": "image_url", "image_url": {"url": "data:"}}]
    for document in (
        {"messages": [{"role": "user", "content": parts}]},
        {"input": code},
        {"input": [{"role": "user", "content": [{"type": "input_text", "text": code}]}]},
        {"prompt": code},
        {"prompt": ["hi", code]},
    ):
        assert SCORER.of(document).kind == "code", document


def test_own_words_may_be_phrases() -> None:
    scorer = Scorer(Complexity.model_validate({"words": ["Schritt für Schritt", "beweise"], "large_from": 24}))
    assert scorer.of({"prompt": "BEWEISE es Schritt für Schritt"}).kind == "large"
    assert scorer.of({"prompt": "beweisen"}).score == 0


MEMBERS = st.sampled_from(["role", "content", "text", "type"])
BODIES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=40),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(MEMBERS, inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(["messages", "input", "prompt", "tools", "response_format"]), BODIES))
def test_any_body_is_scored(document: dict[str, Any]) -> None:
    found = SCORER.of(document)
    assert 0 <= found.score <= 100
    assert 0 <= found.code <= 100
