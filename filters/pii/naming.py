"""Patterns and models together: the detector of a policy that asks for names, places or organisations."""

from collections.abc import Iterator, Mapping, Sequence

from headrace.filters.pii.allowance import Allowance, ModelsLate, unlimited
from headrace.filters.pii.cutter import findings, windows
from headrace.filters.pii.detector import PatternDetector
from headrace.filters.pii.fusion import fuse
from headrace.filters.pii.layers import Layer, through
from headrace.filters.pii.memo import Memory
from headrace.filters.pii.models.pool import ModelPool
from headrace.filters.pii.places import PLACE
from headrace.filters.pii.spans import Named, Span

Found = Mapping[str, Sequence[Span]]
"""Text of a segment → its findings."""


class NamingDetector:
    """patterns: finds what needs no model. thresholds: entity to the score a finding of a model must reach.

    What the models found in a segment is remembered: it costs milliseconds, a pattern microseconds.
    """

    waits = True
    beginnings = None

    def __init__(
        self, patterns: PatternDetector, pool: ModelPool, thresholds: Mapping[str, float], layers: Sequence[Layer] = ()
    ) -> None:
        self._patterns = patterns
        self._pool = pool
        self._thresholds = dict(thresholds)
        self._layers = layers
        self.size = patterns.size
        self._memory = Memory()

    def ready(self) -> None:
        """As Detector; of the models nothing is said."""
        self._patterns.ready()

    def places(self, text: str, most: int) -> int | None:
        """As Detector; of what models may find nothing is said."""
        return self._patterns.places(text, most)

    def detect_all(self, texts: Sequence[Named], allowance: Allowance) -> Iterator[Sequence[Span]]:
        """As Detector: the models are asked once for all, so that every process has work. Raises ModelsLate, ModelUnusable, too."""

        def read(segments: Sequence[str]) -> Sequence[Sequence[Span]]:
            named = self._named(segments, allowance)
            return [named[segment] for segment in segments]

        found = self._patterns.elsewhere(texts, allowance, read)
        yield from self._together(texts, allowance) if found is None else found

    def _together(self, texts: Sequence[Named], allowance: Allowance) -> Iterator[Sequence[Span]]:
        """Here, the models being asked once for all."""
        cut = [windows(text, self.size, allowance.step) for text, _ in texts]
        named, left = self._read([window for each in cut for window in each], allowance)
        if left and not allowance.lenient:
            raise ModelsLate
        known, unread = {**dict.fromkeys(left, ()), **named}, frozenset(left)
        for each, own in zip(texts, cut, strict=True):
            if unread:
                allowance.unread(sum(len(window) for window in own if window in unread))
            yield self.detect_known(each, known, allowance)

    def detect(self, text: str, allowance: Allowance | None = None, about: str = "") -> tuple[Span, ...]:
        """Raises DetectionTimeout, ModelUnusable."""
        allowed = allowance or unlimited()
        named = self._named(windows(text, self.size, allowed.step), allowed)
        return self.detect_known((text, about), named, allowed)

    def detect_known(self, named: Named, known: Found, allowance: Allowance) -> tuple[Span, ...]:
        """As `detect`. known: what models find in segments; those of which it has nothing are read, each by itself."""

        def search(text: str, start: int, end: int) -> Sequence[Span]:
            allowance.step()
            return self._fused(text[start:end], known, allowance, about if start == 0 else "")

        text, about = named
        return tuple(findings(text, search, self.size))

    def segment(self, text: str, about: str = "") -> tuple[Span, ...]:
        """Raises DetectionTimeout, ModelUnusable."""
        return self._fused(text, {}, unlimited(), about)

    def _fused(self, text: str, known: Found, allowance: Allowance, about: str) -> tuple[Span, ...]:
        named = known.get(text)
        if named is None:
            named = self._named([text], allowance).get(text, ())
        wanted = [span for span in named if span.score >= self._thresholds.get(span.entity, _NEVER)]
        fused = fuse(text, self._patterns.segment(text, about), wanted, places=PLACE in self._thresholds)
        return through(self._layers, text, fused)

    def _named(self, texts: Sequence[str], allowance: Allowance) -> dict[str, Sequence[Span]]:
        """What the models find in each of `texts`. Raises ModelsLate."""
        known, left = self._read(texts, allowance)
        if left:
            allowance.unread(sum(map(len, left)))
        return dict.fromkeys(texts, ()) | known

    def _read(self, texts: Sequence[str], allowance: Allowance) -> tuple[dict[str, Sequence[Span]], Sequence[str]]:
        """What the models find in `texts`, from memory or the pool, which is asked once; the texts they had no time for."""
        names: dict[str, bytes] = {}
        known: dict[str, Sequence[Span]] = {}
        for text in filter(_has_words, texts):
            allowance.step()
            names[text] = name = self._memory.name(text)
            if (spans := self._memory.get(name)) is not None:
                known[text] = spans
        unknown = [text for text in names if text not in known]
        try:
            for indices, found in self._pool.batches(unknown, allowance.models_until):
                for index, spans in zip(indices, found, strict=True):
                    self._memory.keep(names[unknown[index]], spans)
                    known[unknown[index]] = spans
        except ModelsLate:
            return known, [text for text in unknown if text not in known]
        finally:
            if unknown:
                allowance.waited()
        return known, ()


_NEVER = 2.0


def _has_words(text: str) -> bool:
    """Whether there is anything to name: a letter or a digit."""
    return any(map(str.isalnum, text))
