"""The detector: Presidio's findings without a model, at a fraction of its cost.

One gate scan (3 µs for a chat message) names the recognizers that may find something; those alone run, with Presidio's own
patterns, checksums and order of reduction. Equal to `AnalyzerEngine.analyze` by the differential test.
"""

from collections.abc import Iterator, Mapping

from headrace.filters.pii.cutter import findings
from headrace.filters.pii.gate import gate_for
from headrace.filters.pii.phone import PhoneFinder
from headrace.filters.pii.presidio import PHONE_ENTITY, PHONE_SCORE, pattern_recognizers, phone_regions
from headrace.filters.pii.spans import Span, without_duplicates


class PatternDetector:
    """Presidio's default recognizers for `thresholds`: entity to the score a finding must reach."""

    waits = False

    def __init__(self, thresholds: Mapping[str, float]) -> None:
        self._thresholds = dict(thresholds)
        self._recognizers = [each for each in pattern_recognizers() if each.best >= thresholds.get(each.entity, _NEVER)]
        wants_phone = thresholds.get(PHONE_ENTITY, _NEVER) <= PHONE_SCORE
        self._phone = PhoneFinder(phone_regions()) if wants_phone else None
        self._gate = gate_for(self._recognizers, phone=wants_phone) if self._recognizers or wants_phone else None

    def detect(self, text: str) -> tuple[Span, ...]:
        if self._gate is None or not self._gate.open(text):
            return ()
        return tuple(findings(text, self.segment))

    def segment(self, text: str) -> tuple[Span, ...]:
        opened = self._gate.open(text) if self._gate is not None else None
        return without_duplicates(self._search(text, opened)) if opened else ()

    def _search(self, text: str, opened: frozenset[str]) -> Iterator[Span]:
        for recognizer in self._recognizers:
            if recognizer.name in opened:
                least = self._thresholds[recognizer.entity]
                yield from (span for span in recognizer.find(text) if span.score >= least)
        if self._phone is not None and PHONE_ENTITY in opened:
            yield from (Span(start, end, PHONE_ENTITY, PHONE_SCORE) for start, end in self._phone.find(text))


_NEVER = 2.0


def entities() -> tuple[str, ...]:
    """What the default recognizers find without a model, in alphabetical order."""
    return tuple(sorted({*(each.entity for each in pattern_recognizers()), *([PHONE_ENTITY] if phone_regions() else [])}))


def best_scores() -> Mapping[str, float]:
    """Entity → the highest score a finding can get without a model (whose tokens Presidio's context words need)."""
    best = {each.entity: each.best for each in pattern_recognizers()}
    return best | ({PHONE_ENTITY: PHONE_SCORE} if phone_regions() else {})
