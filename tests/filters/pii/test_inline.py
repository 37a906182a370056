"""What is searched on the event loop is bounded by what it may cost, and not by its length alone."""

from collections.abc import Iterable

import pytest

from headrace.filters.pii.detector import PatternDetector, entities
from headrace.filters.pii.memo import MemoDetector
from headrace.filters.pii.scan import INLINE, INLINE_PLACES, SHORT, Searcher
from headrace.filters.pii.strings import Text
from headrace.filters.pii.treatment import Treatment

PATTERNS = PatternDetector(dict.fromkeys(entities(), 0.4))
PROSE = "the committee met to discuss the plan for the library. "
DENSE = {
    "grid": "1 2 / ３ 4 ５ 6 " * 100,
    "numbers": "12 7 43 88 0 5 61 9 20 33 " * 60,
    "addresses": "jane@example.com, " * 80,
    "turkish": "kapı 1 " * 80,  # a letter for which every gate is open
}


def searcher() -> Searcher:
    return Searcher(MemoDetector(PATTERNS), Treatment("redact", "off"))


def is_heavy(texts: Iterable[str], by: Searcher | None = None) -> bool:
    return (by or searcher()).is_heavy([Text((), text) for text in texts])


@pytest.mark.parametrize("text", DENSE.values(), ids=DENSE)
def test_text_full_of_what_may_be_a_finding_leaves_the_event_loop_though_it_is_short(text: str) -> None:
    assert len(text) < INLINE / 4
    assert is_heavy([text])


@pytest.mark.parametrize("text", DENSE.values(), ids=DENSE)
def test_so_do_many_short_texts_that_are_it_together(text: str) -> None:
    assert is_heavy([text[at : at + 40] for at in range(0, len(text), 40)])


@pytest.mark.parametrize(
    "texts",
    [
        [PROSE * (INLINE // len(PROSE))],
        [PROSE * 50 + "write to jane@example.com or call +1 415-555-2671. " * 2],
        [PROSE[:20]] * (INLINE // 20),
        [DENSE["grid"][:SHORT]],
        [],
    ],
)
def test_prose_with_some_findings_stays_on_it(texts: list[str]) -> None:
    assert not is_heavy(texts)


def test_so_does_what_was_searched_before() -> None:
    found = searcher()
    found.detector.detect(DENSE["grid"])
    assert not is_heavy([DENSE["grid"], PROSE], found)


def test_places_are_counted_up_to_a_number() -> None:
    text = "a@example.com " * INLINE_PLACES
    many = PATTERNS.places(text, len(text))
    assert many is not None and many >= INLINE_PLACES
    assert PATTERNS.places(text, many) == many and PATTERNS.places(text, many - 1) is None
    assert PATTERNS.places(PROSE, 0) == 0
    assert PatternDetector({}).places(text, 0) == 0
