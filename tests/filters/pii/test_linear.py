"""Presidio's patterns in RE2 match what they match in their own engine, on ASCII text."""

import os
import random
from collections.abc import Sequence
from functools import cache

import pytest
import regex  # type: ignore[import-untyped]

from headrace.filters.pii.linear import FLAGS, linear
from headrace.filters.pii.presidio import countries, finders, languages
from headrace.filters.pii.recognizers import LazyPattern, Recognizer

from .texts import official

LONG = 2000 if os.environ.get("HEADRACE_LONG") else 100
EVERY = [each for each in finders(languages(), countries()) if isinstance(each, Recognizer)]
PATTERNS = [pattern for each in EVERY for pattern in each.patterns if pattern.linear is not None]
_BLANKS = ("\t", "\n", "\x0b", "\x0c", "\r", "\x1c", "\x1d", "\x1e", "\x1f", " ", "\x00", "\x7f")


@pytest.mark.parametrize("pattern", PATTERNS, ids=[each.name for each in PATTERNS])
def test_on_ascii_text_two_engines_find_the_same_of_a_pattern(pattern: LazyPattern) -> None:
    for text in _ascii_texts():
        theirs = [match.span() for match in pattern.expression.finditer(text)]
        assert [match.span() for match in pattern.linear.finditer(text.encode())] == theirs, repr(text)


@cache
def _ascii_texts() -> Sequence[str]:
    """With every blank in place of some, so that patterns that take blanks are tried with all of them."""
    rng = random.Random(11)
    texts = []
    for seed in range(LONG):
        plain = official(seed).encode("ascii", "ignore").decode()
        texts += [plain, "".join(rng.choice(_BLANKS) if each in " -" and rng.random() < 0.4 else each for each in plain)]
    return texts


@pytest.mark.parametrize("pattern", [r"a\sb", r"a[\s]b", r"a\Sb", r"a[^\s]b", r"a[\]\s]b", r"a\\s", "a.b", "^b", "a$", r"\Bb"])
def test_two_engines_agree_on_every_character_of_ascii(pattern: str) -> None:
    for character in map(chr, range(128)):
        text = f"a{character}b\\s"
        theirs = [match.span() for match in regex.finditer(pattern, text, FLAGS)]
        assert [match.span() for match in linear(pattern, FLAGS).finditer(text)] == theirs, repr(text)


@pytest.mark.parametrize("pattern", ["a{,3}", "(?=a)b", r"(a)\1", r"\Qa\E", r"[\S]"])
def test_a_pattern_that_means_something_else_in_re2_is_left_to_its_own_engine(pattern: str) -> None:
    assert linear(pattern, FLAGS) is None
    assert linear("a", 0) is None
