"""The detector finds what Presidio's engine finds, exactly."""

import os
import re
import socket
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from typing import Any
from unittest.mock import patch

import hyperscan
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from presidio_analyzer import AnalysisExplanation, EntityRecognizer, Pattern, PatternRecognizer, RecognizerResult
from presidio_analyzer.context_aware_enhancers import LemmaContextAwareEnhancer
from presidio_analyzer.nlp_engine import NlpArtifacts
from presidio_analyzer.recognizer_registry.recognizers_loader_utils import RecognizerConfigurationLoader

from headrace.filters.pii import presidio
from headrace.filters.pii.context import Surroundings
from headrace.filters.pii.cutter import LONGEST, windows
from headrace.filters.pii.detector import PatternDetector, best_scores, entities
from headrace.filters.pii.gate import Gate
from headrace.filters.pii.presidio import countries, finders, languages, listed
from headrace.filters.pii.recognizers import Finder
from headrace.filters.pii.spans import DetectionTimeout, Span, disjoint, without_duplicates
from headrace.filters.pii.unchecked import unchecked

from .texts import TEXTS, generate, official
from .vanilla import engine, findings

LONG_SEEDS = 2000 if os.environ.get("HEADRACE_LONG") else 150
EVERYTHING = PatternDetector(dict.fromkeys(entities(), 0.0))
CONFIDENT = PatternDetector(dict.fromkeys(entities(), 0.4))


@pytest.mark.parametrize("start", range(0, 5000, 500))
def test_findings_and_scores_equal_presidios_on_generated_texts(start: int) -> None:
    for seed in range(start, start + 500):
        text = generate(seed)
        assert set(EVERYTHING.detect(text)) == findings(text), f"seed {seed}: {text!r}"


@given(TEXTS)
@settings(max_examples=300, deadline=None)
def test_a_threshold_gives_what_presidio_gives_with_it(text: str) -> None:
    assert set(CONFIDENT.detect(text)) == findings(text, default=0.4)


@given(st.lists(st.sampled_from(["1", "0", " ", "-", ".", "@", "a", "/", ":", "+", "(", ")", "é", "x", "\n", "9"]), max_size=60))
@settings(max_examples=1000, deadline=None)
def test_findings_equal_presidios_on_noise_near_its_patterns(pieces: list[str]) -> None:
    text = "".join(pieces)
    assert set(EVERYTHING.detect(text)) == findings(text)


_MARKS = ["x@", "@", ".", "-", ".com", "com", "co", "uk", "www", "www1.", "https://", "http://", "'", '"', "/", "(", " ", "_", "!"]
_ADDRESSES = [*_MARKS, "a", "1", "é", "\u0131", "\u017f", "\u212a", "\n", "q." * 12, "a-" * 130, "b" * 253]


@given(st.lists(st.sampled_from(_ADDRESSES), max_size=25).map("".join))
@settings(max_examples=400, deadline=None)
def test_findings_equal_presidios_on_noise_near_addresses(text: str) -> None:
    only = PatternDetector({"URL": 0.0, "EMAIL_ADDRESS": 0.0})
    assert set(only.detect(text)) == {found for found in findings(text) if found[2] in ("URL", "EMAIL_ADDRESS")}


@given(st.text(max_size=200))
@settings(max_examples=500, deadline=None)
def test_findings_equal_presidios_on_any_unicode(text: str) -> None:
    assert set(EVERYTHING.detect(text)) == findings(text)


def test_the_network_is_never_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket.socket, "connect", refused)
    monkeypatch.setattr(socket, "getaddrinfo", refused)
    assert CONFIDENT.detect("write to jane@example.com")[0] == Span(9, 25, "EMAIL_ADDRESS", 1.0)


def test_nothing_of_the_text_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(1)
    EVERYTHING.detect("DE\u0661\u06619370400440532013000 and DE89370400440532013000 and jane@example.com")
    assert not caplog.records


def test_a_pattern_that_takes_too_long_is_an_error_and_no_clean_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headrace.filters.pii.recognizers.PATTERN_SECONDS", 1e-9)
    with pytest.raises(DetectionTimeout):
        EVERYTHING.detect("1-1-é-" * 100_000 + "4111 1111 1111 1111")  # of ASCII most patterns are searched for by RE2


_LOCAL, _HOST = "a.-" * 3000, "q." * 4000


@pytest.mark.parametrize("text", [f"{_LOCAL}.@b.com", f"{_LOCAL}(x@b.com", f"x@{_HOST} x@b.com", f"a.com({_HOST}", f"{_HOST}.com"])
def test_addresses_that_nearly_match_do_not_take_the_time_of_every_pair_of_characters(text: str) -> None:
    with patch("headrace.filters.pii.recognizers.PATTERN_SECONDS", 0.5):  # as they stand, Presidio's patterns take seconds here
        EVERYTHING.detect(text)


def test_a_long_text_is_searched_segment_by_segment_with_the_same_findings() -> None:
    text = "\n".join(generate(seed) for seed in range(60))
    assert len(text) > 2 * LONGEST
    assert set(EVERYTHING.detect(text)) == findings(text)


def test_the_best_score_of_an_entity_is_never_exceeded() -> None:
    best = best_scores()
    found = [span for seed in range(500) for span in EVERYTHING.detect(generate(seed))]
    assert all(span.score <= best[span.entity] for span in found)
    assert {span.entity for span in found} == set(best), "the generator makes every entity"


def test_overlapping_findings_become_one_that_covers_them_named_after_the_best() -> None:
    spans = [Span(0, 10, "URL", 0.5), Span(2, 20, "EMAIL_ADDRESS", 1.0), Span(18, 25, "URL", 0.5), Span(25, 30, "URL", 0.5)]
    assert disjoint(spans) == [Span(0, 25, "EMAIL_ADDRESS", 1.0), Span(25, 30, "URL", 0.5)]


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(1, 10), st.sampled_from("AB"), st.sampled_from([0.3, 0.5, 1.0]))))
def test_merged_findings_cover_the_same_characters_and_never_overlap(drawn: list[tuple[int, int, str, float]]) -> None:
    spans = [Span(start, start + length, entity, score) for start, length, entity, score in drawn]
    merged = disjoint(spans)
    assert {at for span in merged for at in range(span.start, span.end)} == {at for s in spans for at in range(s.start, s.end)}
    assert all(left.end <= right.start for left, right in pairwise(merged))


# --- every recognizer of Presidio's, in every language and of every country -----------------------------------------------------

EVERY = finders(languages(), countries())


def test_every_recognizer_finds_what_presidios_does() -> None:
    """Each alone: all together are no more, and compiling their gates takes ten seconds."""
    engine()  # keeps the oracle off the network
    found = 0
    for seed in range(LONG_SEEDS):
        text = official(seed)
        for name, each in listed().items():
            ours = {span for span in _alone(name).find(text) if span.score > 0}
            theirs = _theirs(name).analyze(text, [each.entity], NO_ARTIFACTS)
            expected = {Span(one.start, one.end, one.entity_type, one.score) for one in theirs if one.score > 0}
            assert set(without_duplicates(ours)) == set(without_duplicates(expected)), f"{name}, seed {seed}: {text!r}"
            found += len(expected)
    assert found > LONG_SEEDS


def test_presidio_checks_the_patterns_of_others_as_ever() -> None:
    listed()
    with pytest.raises(ValueError, match="Invalid regex pattern"):
        Pattern("broken", "(", 1.0)
    with unchecked():
        Pattern("broken", "(", 1.0)
    with pytest.raises(ValueError, match="Invalid regex pattern"):
        Pattern("broken", "(", 1.0)


NO_ARTIFACTS: Any = None


@cache
def _theirs(name: str) -> EntityRecognizer:
    """Presidio's recognizer with the flags that its registry gives it."""
    recognizer: Any = type(listed()[name].recognizer)
    made: EntityRecognizer = recognizer()
    if isinstance(made, PatternRecognizer):
        made.global_regex_flags = re.DOTALL | re.MULTILINE | re.IGNORECASE
    return made


@cache
def _alone(name: str) -> Finder:
    """The recognizer that Presidio lists under `name`, by its entity."""
    entity = listed()[name].entity
    return next(each for each in EVERY if each.entity == entity)


def test_the_gate_of_a_country_opens_where_its_recognizers_find_something() -> None:
    german = finders(("de",), ("de",))
    gated = PatternDetector(dict.fromkeys(entities(german), 0.0), german)
    for seed in range(200):
        text = official(seed)
        for window in windows(text):
            ungated = without_duplicates(span for each in german for span in each.find(window))
            assert set(gated.segment(window)) == set(ungated), f"seed {seed}: {window!r}"


def test_context_words_raise_scores_as_presidios_enhancer_does_with_the_same_words() -> None:
    enhancer = LemmaContextAwareEnhancer()
    for seed in range(300):
        text = generate(seed)
        words = list(re.finditer(r"\w+", text))
        lemmas = [word[0].lower() for word in words]
        keywords = [lemma for lemma in lemmas if len(lemma) >= 3]
        artifacts = NlpArtifacts([], [word[0] for word in words], [word.start() for word in words], lemmas, None, "en")  # type: ignore[arg-type]
        artifacts.keywords = keywords
        for each in EVERY[:30]:
            spans = [span for span in each.find(text) if words and span.start < words[-1].end()]
            ours = list(Surroundings(text).enhanced(iter(spans), each.context))
            assert [span.score for span in ours] == _enhanced(enhancer, text, spans, each, artifacts), f"{each.name}, seed {seed}"


def _enhanced(enhancer: Any, text: str, spans: list[Span], finder: Finder, artifacts: Any) -> list[float]:
    recognizer: Any = PatternRecognizer(finder.entity, deny_list=["x"], context=list(finder.context), name=finder.name)
    known = {"recognizer_identifier": recognizer.id, "recognizer_name": recognizer.name}
    raw = [RecognizerResult(s.entity, s.start, s.end, s.score, AnalysisExplanation("x", s.score), known) for s in spans]
    return [found.score for found in enhancer.enhance_using_context(text, raw, artifacts, [recognizer])]


def test_a_recognizer_that_needs_a_context_word_is_passed_over_only_where_there_is_none() -> None:
    every = PatternDetector(dict.fromkeys(entities(), 0.0), context=True)
    least = PatternDetector(dict.fromkeys(entities(), 0.4), context=True)
    words = sorted({word for each in finders() for word in each.context})
    best, raised = best_scores(), 0
    for seed in range(80):
        text = f"{words[seed % len(words)]} {generate(seed)} {words[(7 * seed + 3) % len(words)].upper()} {generate(seed + 1)}"
        found = least.detect(text)
        assert found == tuple(span for span in every.detect(text) if span.score >= 0.4), f"seed {seed}: {text!r}"
        raised += sum(1 for span in found if best[span.entity] < 0.4)
    assert raised > 5


def test_the_recognizers_are_those_that_presidio_reads() -> None:
    assert presidio._configuration() == RecognizerConfigurationLoader.get()


def test_a_gate_that_cannot_be_compiled_says_so_to_whoever_waits_or_asks() -> None:
    gate = Gate({"broken": ["("]})
    with pytest.raises(hyperscan.error):
        gate.ready()
    with pytest.raises(hyperscan.error):
        gate.open("text")


class Recorder:
    """A finder that finds nothing, and remembers where it was sent."""

    name, entity, best = "Recorder", "SOMETHING", 1.0
    context: tuple[str, ...] = ()
    gates: tuple[str, ...] = ()
    hints = ("never",)
    beginnings = None

    def __init__(self) -> None:
        self.searched: list[str] = []

    def find(self, text: str) -> Iterator[Span]:
        self.searched.append(text)
        return iter(())


def test_recognizers_load_what_they_need_whatever_the_gate_says() -> None:
    recorder = Recorder()
    detector = PatternDetector({"SOMETHING": 0.5}, [recorder])
    detector.rehearse("for another", frozenset({"Another"}))
    detector.detect("nothing opens the gate")
    detector.rehearse("for it", frozenset({"Recorder"}))
    assert recorder.searched == ["for it"]
