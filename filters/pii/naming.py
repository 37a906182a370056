"""Patterns and models together: the detector of a policy that asks for names, places or organisations."""

from collections.abc import Mapping, Sequence

from headrace.filters.pii.cutter import findings, windows
from headrace.filters.pii.fusion import fuse
from headrace.filters.pii.layers import Layer, through
from headrace.filters.pii.memo import Memory
from headrace.filters.pii.models.pool import ModelPool
from headrace.filters.pii.places import PLACE
from headrace.filters.pii.spans import Detector, Span


class NamingDetector:
    """patterns: finds what needs no model. thresholds: entity to the score a finding of a model must reach.

    What the models found in a segment is remembered: it costs milliseconds, a pattern microseconds.
    """

    waits = True

    def __init__(self, patterns: Detector, pool: ModelPool, thresholds: Mapping[str, float], layers: Sequence[Layer] = ()) -> None:
        self._patterns = patterns
        self._pool = pool
        self._thresholds = dict(thresholds)
        self._layers = layers
        self._memory = Memory()

    def detect(self, text: str) -> tuple[Span, ...]:
        """Raises DetectionTimeout, ModelUnusable."""
        named = self._named(windows(text))
        return tuple(findings(text, lambda window: self._fused(window, named)))

    def segment(self, text: str) -> tuple[Span, ...]:
        """Raises DetectionTimeout, ModelUnusable."""
        return self._fused(text, {})

    def _fused(self, text: str, named: Mapping[str, Sequence[Span]]) -> tuple[Span, ...]:
        found = named.get(text)
        if found is None:
            found = self._named([text])[text]
        wanted = [span for span in found if span.score >= self._thresholds.get(span.entity, _NEVER)]
        fused = fuse(text, self._patterns.segment(text), wanted, places=PLACE in self._thresholds)
        return through(self._layers, text, fused)

    def _named(self, texts: Sequence[str]) -> dict[str, Sequence[Span]]:
        """What the models find in each of `texts`: from memory, or from the pool, which is asked once."""
        names = {text: self._memory.name(text) for text in texts if _has_words(text)}
        known = {text: spans for text, name in names.items() if (spans := self._memory.get(name)) is not None}
        unknown = [text for text in names if text not in known]
        for text, spans in zip(unknown, self._pool.find(unknown), strict=True):
            self._memory.keep(names[text], spans)
            known[text] = spans
        return dict.fromkeys(texts, ()) | known


_NEVER = 2.0


def _has_words(text: str) -> bool:
    """Whether there is anything to name: a letter or a digit."""
    return any(map(str.isalnum, text))
