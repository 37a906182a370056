"""Segments: the same findings however the text was cut, and no more held back than said."""

import random
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.filters.pii.cutter import FEWEST_WORDS, LEAST_WORDS, LONGEST, WORDS
from headrace.filters.pii.detector import best_scores
from headrace.filters.pii.plan import Plan, detector_for
from headrace.filters.pii.scan import Searcher
from headrace.filters.pii.segments import Scrubber
from headrace.filters.pii.spans import Span
from headrace.filters.pii.treatment import Treatment

from .texts import generate

ENTITIES = ("CREDIT_CARD", "EMAIL_ADDRESS", "IBAN_CODE", "PHONE_NUMBER", "URL")
DETECTOR = detector_for(Plan(tuple((entity, 0.4) for entity in ENTITIES)))
TREATMENT = Treatment("redact", "off")
SEARCHER = Searcher(DETECTOR, TREATMENT)
SHORT = Searcher(detector_for(Plan(tuple((entity, 0.4) for entity in ENTITIES), words=FEWEST_WORDS)), TREATMENT)
"""In segments as short as a policy may have them."""


def _mark(span: Span, value: str) -> str:
    return f"[{span.entity}:{value}]"


def _redact(span: Span, _: str) -> str:
    return f"<{span.entity}>"


def _scrubbed(pieces: list[str], searcher: Searcher = SEARCHER) -> str:
    scrubber = Scrubber(searcher, _redact)
    return "".join(map(scrubber.feed, pieces)) + scrubber.flush()


def _spoken(rng: random.Random) -> str:
    """Generated texts as an answer might hold them, some of them without any natural end."""
    text = " ".join(generate(rng.randrange(10**6)) for _ in range(rng.randint(1, 4)))
    return text if rng.random() < 0.6 else text.replace("\n", rng.choice([" ", ""])).replace(".", rng.choice([" ", ","]))


@pytest.mark.parametrize("seed", range(20))
def test_random_cuts_of_generated_answers_make_no_difference(seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(100):
        text = _spoken(rng)
        whole = _scrubbed([text])
        for _ in range(5):
            bounds = sorted({0, len(text), *(rng.randrange(len(text) + 1) for _ in range(rng.randint(1, 30)))})
            assert _scrubbed([text[start:end] for start, end in pairwise(bounds)]) == whole, repr(text)


@pytest.mark.parametrize("seed", range(10))
def test_one_character_at_a_time_gives_what_the_whole_gives(seed: int) -> None:
    text = _spoken(random.Random(seed))
    assert _scrubbed(list(text)) == _scrubbed([text])


@given(st.integers(0, 10**6))
@settings(max_examples=200, deadline=None)
def test_what_is_not_a_finding_is_given_out_unchanged_and_in_order(seed: int) -> None:
    text = generate(seed)
    scrubber = Scrubber(SEARCHER, _mark)
    marked = scrubber.feed(text) + scrubber.flush()
    for entity in ("CREDIT_CARD", "EMAIL_ADDRESS", "IBAN_CODE", "PHONE_NUMBER", "URL"):
        marked = marked.replace(f"[{entity}:", "")
    plain = "".join(character for character in text if character != "]")
    assert "".join(character for character in marked if character != "]") == plain


def test_a_full_stop_that_may_be_part_of_an_address_is_no_sentence_end() -> None:
    scrubber = Scrubber(SEARCHER, _redact)
    before = "word " * LEAST_WORDS
    assert scrubber.feed(f"{before}Ask jane.") == f"{before}Ask"
    assert scrubber.feed("doe@example.com now.") == ""
    assert scrubber.feed(" ") == ""
    assert scrubber.feed("T") == " <EMAIL_ADDRESS> now. "


def test_a_telephone_number_with_full_stops_is_not_cut() -> None:
    assert "555" not in _scrubbed(["Dial 415. 555. 2671 today."])


def test_a_finding_across_the_forced_cut_is_found_whole() -> None:
    for before in range(WORDS + 2):
        text = "word " * before + "4111 1111 1111 1111 and +1 415 555 2671 " + "word " * WORDS
        assert _scrubbed([text]) == "word " * before + "<CREDIT_CARD> and <PHONE_NUMBER> " + "word " * WORDS


def test_no_more_is_held_than_the_longest_segment() -> None:
    for text in ("a" * 20_000, "word " * 5_000, "x@" * 9_000):
        scrubber = Scrubber(SEARCHER, _redact)
        given_out = 0
        for count, character in enumerate(text, 1):
            given_out += len(scrubber.feed(character))
            assert count - given_out <= LONGEST


@pytest.mark.parametrize("seed", range(5))
def test_random_cuts_make_no_difference_in_short_segments(seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(60):
        text = _spoken(rng)
        bounds = sorted({0, len(text), *(rng.randrange(len(text) + 1) for _ in range(rng.randint(1, 30)))})
        assert _scrubbed([text[start:end] for start, end in pairwise(bounds)], SHORT) == _scrubbed([text], SHORT), repr(text)


def test_a_telephone_number_written_digit_by_digit_is_found_whole_in_short_segments() -> None:
    for before in range(FEWEST_WORDS + 2):
        text = "word " * before + "+ 1 4 1 5 5 5 5 2 6 7 1 or +1 415 555 2671 " + "word " * WORDS
        assert "415 555" not in _scrubbed([text], SHORT)
        assert _scrubbed(list(text), SHORT) == _scrubbed([text], SHORT)


@pytest.mark.parametrize(("searcher", "words"), [(SEARCHER, WORDS), (SHORT, FEWEST_WORDS)])
def test_no_more_words_are_held_than_the_policy_says(searcher: Searcher, words: int) -> None:
    scrubber = Scrubber(searcher, _redact)
    given_out, most = 0, 0
    for count in range(1, 500):
        given_out += len(scrubber.feed("word "))
        most = max(most, count - given_out // 5)
    assert most <= words + 1


def _blank(_: Span, value: str) -> str:
    return "\0" * len(value)


@pytest.mark.parametrize("start", range(0, 400, 100))
def test_no_character_of_what_the_whole_text_holds_is_given_out(start: int) -> None:
    everything = detector_for(Plan(tuple((entity, 0.4) for entity in sorted(best_scores()))))
    for seed in range(start, start + 100):
        text = _spoken(random.Random(seed)).replace("\0", " ")
        scrubber = Scrubber(Searcher(everything, TREATMENT), _blank)
        out = scrubber.feed(text) + scrubber.flush()
        if len(out) != len(text):  # an overlong finding has swallowed the rest of its run
            continue
        for span in everything.detect(text):
            assert not any(character.isalnum() for character in out[span.start : span.end]), f"{seed}: {span}"
