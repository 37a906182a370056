"""Gates open wherever a recognizer finds something, however much of a text they are asked about at once."""

import random
import re
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.filters.pii import secrets
from headrace.filters.pii.custom import LinearPattern, LinearRecognizer
from headrace.filters.pii.cutter import LONGEST, OVERLAP, findings, searching
from headrace.filters.pii.detector import PatternDetector, entities
from headrace.filters.pii.gate import Gate, loosened
from headrace.filters.pii.lookout import Lookout
from headrace.filters.pii.recognizers import Finder

from .texts import generate

EVERYTHING = PatternDetector(dict.fromkeys(entities(), 0.0))
PROSE = ("The mill stood still all winter. ", "Nobody knew why, and nobody asked\n", "water wheel and weir ", "Ja, größer! ")


def _sparse(rng: random.Random) -> str:
    """A long text in which hardly anything opens a gate, and now and then something does."""
    stretches = [rng.choice(PROSE) * (rng.choice([3, 1024, 65536]) // 30 + rng.randrange(9)) for _ in range(rng.randint(1, 8))]
    return "".join(stretch + (generate(rng.randrange(10**6)) if rng.random() < 0.8 else "") for stretch in stretches)


@pytest.mark.parametrize("seed", range(40))
def test_a_long_text_has_the_findings_of_its_windows_searched_one_by_one(seed: int) -> None:
    text = _sparse(random.Random(seed))
    assert EVERYTHING.detect(text) == tuple(findings(text, searching(EVERYTHING.segment)))


def _german(expression: str) -> Gate:
    return Gate({"street": [expression], "number": ["[0-9]{3}"]})


@pytest.mark.parametrize("seed", range(20))
def test_what_opens_a_gate_in_a_window_is_seen_in_the_whole_text(seed: int) -> None:
    rng = random.Random(seed)
    gate = _german(r"stra[\x{df}]e")
    pieces = ["Stra\u00dfe ", "123 ", "STRA\u00dfE", "45", "6 ", "\u20ac ", "\U0001f600", "\ud800", *PROSE]
    text = "".join(rng.choices(pieces, [1] * 8 + [20] * len(PROSE), k=200))
    places, start, opened = gate.places(text), 0, 0
    assert places
    lookout = Lookout(gate, text, places)
    while start < len(text):
        end = start + rng.randint(1, 60)
        keys = gate.open(text[start:end])
        assert keys <= lookout.open(start, end), repr(text[start:end])
        assert not keys or start < lookout.last
        opened += len(keys)
        start += rng.randint(1, end - start)
    assert opened


def test_where_gates_open_nearly_everywhere_no_places_are_told() -> None:
    gate = _german("stra")
    assert gate.places("1234" * 1000) is None
    assert gate.places(f"{PROSE[0] * 10}123") == [(10 * len(PROSE[0]) + 3, "number")]
    assert gate.places(PROSE[0]) == []
    assert Lookout(gate, "1234" * 1000, None).open(8, 11) == {"number"}


_COUNTED = [f"{PROSE[0]}123 456", "Stra\u00dfe 123 \u20ac 456 \ud800 789", PROSE[0], "1234" * 15, "1234" * 1000]


@pytest.mark.parametrize("text", _COUNTED)
def test_places_that_were_counted_are_the_same_and_the_text_is_forgotten(text: str) -> None:
    gate = _german(r"stra[\x{df}]e")
    expected = gate.places(text)
    for counted in (text, f"{text} 777"):
        gate.count(counted, 10_000)
        held = sys.getrefcount(text)
        assert gate.places(text) == expected
        assert sys.getrefcount(text) == held - (counted is text)
    assert gate.places(text) == expected


# --- patterns that are gates of their own ----------------------------------------------------------------------------------------

_WORDS = "word " * 12
_RUN = "a" * (LONGEST - OVERLAP)
PLACES = [
    (r"^E[0-9]{6}", f"{_WORDS}end. E123456 is here"),
    (r"[0-9]{6}\s$", f"{_WORDS}E123456 \nAnd so on"),
    (r"\bE[0-9]{6}", f"{_RUN}E123456{_RUN} {_WORDS}"),
    (r"(?:^|\W)E[0-9]{6}\b", f"{_WORDS}end. E123456 {_WORDS}"),
    (r"\AE[0-9]{6}", f"{_WORDS}end. E123456 {_WORDS}"),
    (r"\QE12\E[0-9]{4}", f"{_WORDS}end. E123456 {_WORDS}"),
]


def _of(pattern: str) -> Finder:
    return LinearRecognizer("own", "EMPLOYEE", (LinearPattern(pattern, 0.9),))


@pytest.mark.parametrize(("pattern", "text"), PLACES)
def test_a_pattern_that_asks_what_stands_around_it_is_found_in_a_long_text_as_in_its_segments(pattern: str, text: str) -> None:
    own = _of(pattern)
    detector = PatternDetector({"EMPLOYEE": 0.5}, [own])
    expected = tuple(findings(text, searching(lambda window: tuple(own.find(window)))))
    assert len(expected) == 1
    assert detector.detect(text) == expected
    assert tuple(findings(text, searching(detector.segment))) == expected


@pytest.mark.parametrize(
    ("pattern", "loose"),
    [
        (r"^a$", "a"),
        (r"\ba\B\A\z", "a"),
        (r"[^a$]\^\$[\]^$]", r"[^a$]\^\$[\]^$]"),
        (r"[]^$][^]^$]^", r"[]^$][^]^$]"),
        (r"[[:^alpha:]^]\\b^", r"[[:^alpha:]^]\\b"),
        (r"(?:^|\W)key", r"(?:|\W)key"),
    ],
)
def test_what_asks_for_a_place_is_left_out_of_a_gate_and_nothing_else_is(pattern: str, loose: str) -> None:
    assert loosened(pattern) == loose


@given(
    st.lists(st.sampled_from(["a", "b", "^", "$", r"\b", r"\B", "[^a]", "[b^]", r"\^", "."])).map("".join),
    st.text("ab^ ", max_size=9),
)
@settings(max_examples=300, deadline=None)
def test_a_loosened_pattern_matches_wherever_the_pattern_does(pattern: str, text: str) -> None:
    if re.search(pattern, text, re.MULTILINE):
        assert re.search(loosened(pattern), f"x{text}x")


@pytest.mark.parametrize("key", secrets._KEYS)
@given(st.data())
@settings(max_examples=20, deadline=None)
def test_the_gate_of_api_keys_opens_for_keys_of_every_form(key: str, data: st.DataObject) -> None:
    drawn = data.draw(st.from_regex(re.compile(key, re.ASCII), fullmatch=True))
    (keys,) = (each for each in secrets.SECRETS if each.name == secrets.API_KEY)
    assert any(re.search(hint, drawn, re.IGNORECASE) for hint in keys.hints)
