"""The detector: Presidio's findings without a model, at a fraction of its cost.

One gate scan (3 µs for a chat message) names the recognizers that may find something; those alone run, with Presidio's own
patterns, checksums and order of reduction. Equal to `AnalyzerEngine.analyze` by the differential test.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property, lru_cache

from headrace.filters.pii.allowance import Allowance, unlimited
from headrace.filters.pii.beginnings import Beginnings
from headrace.filters.pii.beginnings import of as beginnings_of
from headrace.filters.pii.context import Surroundings
from headrace.filters.pii.cutter import USUAL, Size, findings
from headrace.filters.pii.gate import gate_for
from headrace.filters.pii.layers import Layer, through
from headrace.filters.pii.lookout import Lookout
from headrace.filters.pii.parts import parts
from headrace.filters.pii.presidio import finders
from headrace.filters.pii.recognizers import Finder, best_of
from headrace.filters.pii.spans import LongTexts, Named, Read, Span, without_duplicates
from headrace.filters.pii.views import HINTS, outside_escapes, views


class PatternDetector:
    """Finds what `recognizers` do (by default Presidio's own) for `thresholds`: entity to the score a finding must reach.

    context: whether context words raise scores. decode: whether encoded text is searched decoded, too. layers: what findings go
    through at the end. size: how long segments are. long_texts: who searches several texts that are long together.
    """

    waits = False

    def __init__(
        self,
        thresholds: Mapping[str, float],
        recognizers: Iterable[Finder] | None = None,
        *,
        context: bool = False,
        decode: bool = False,
        layers: Sequence[Layer] = (),
        size: Size = USUAL,
        long_texts: LongTexts | None = None,
    ) -> None:
        self.size = size
        self._long_texts = long_texts
        self._context = context
        self._layers = layers
        known = finders() if recognizers is None else recognizers
        found = [each for each in known if best_of(each, context=context) >= thresholds.get(each.entity, _NEVER)]
        running = [part for each in found for part in parts(each, thresholds[each.entity], context=context)]
        self._running = [(each.name, each, thresholds[each.entity]) for each in running]
        self._chosen = lru_cache(_CHOICES)(self._choose)
        self._gate = gate_for(running, {_VIEWS: HINTS} if decode else {}) if running else None

    @cached_property
    def beginnings(self) -> Beginnings | None:
        """Compiles the patterns, the first time: tens of milliseconds."""
        return beginnings_of(each.beginnings for _, each, _ in self._running)

    def ready(self) -> None:
        """Waits until the gate is compiled. Raises hyperscan.error when a policy's own patterns cannot be, all together."""
        if self._gate is not None:
            self._gate.ready()

    def rehearse(self, text: str, names: frozenset[str]) -> None:
        """Has the recognizers of these names search `text`, whatever the gate says; they load what they need."""
        self._found(text, names)

    def places(self, text: str, most: int) -> int | None:
        """As Detector: what opens a gate."""
        return 0 if self._gate is None else self._gate.count(text, most)

    def detect_all(self, texts: Sequence[Named], allowance: Allowance) -> Iterator[Sequence[Span]]:
        """As Detector."""
        found = self.elsewhere(texts, allowance)
        if found is not None:
            yield from found
            return
        for text, about in texts:
            allowance.step()
            yield self.detect(text, allowance, about)

    def elsewhere(self, texts: Sequence[Named], allowance: Allowance, read: Read | None = None) -> Sequence[Sequence[Span]] | None:
        """As LongTexts; None, too, where the texts are short. Raises DetectionTimeout, and what `read` raises."""
        if self._long_texts is None or sum([len(text) for text, _ in texts]) <= LONG:
            return None
        return self._long_texts.find(texts, allowance, read)

    def detect(self, text: str, allowance: Allowance | None = None, about: str = "") -> tuple[Span, ...]:
        """Findings by place in the text; they may overlap. Raises DetectionTimeout."""
        if self._gate is None or (places := self._gate.places(text)) == []:
            return ()
        lookout = Lookout(self._gate, text, places)
        allowed = allowance or unlimited()

        def search(text: str, start: int, end: int) -> Sequence[Span]:
            allowed.step()
            opened = lookout.open(start, end)
            return self._found(text[start:end], opened, about if start == 0 else "") if opened else ()

        return tuple(findings(text, search, self.size, lookout.last))

    def segment(self, text: str, about: str = "") -> tuple[Span, ...]:
        return self._found(text, self._gate.open(text), about) if self._gate is not None else ()

    def _found(self, text: str, opened: frozenset[str], about: str = "") -> tuple[Span, ...]:
        """What the recognizers whose gates are open find in one segment."""
        if not opened:
            return ()
        found = self._search(text, opened, about)
        if _VIEWS in opened:
            meant = list(self._behind(text, about))
            found = [*outside_escapes(text, found, meant), *meant]
        return through(self._layers, text, without_duplicates(found)) if found else ()

    def _behind(self, text: str, about: str) -> Iterator[Span]:
        """What is found in the text as it is meant, at its places in the text as it is written."""
        assert self._gate is not None, "only a gate sends here"
        for view in views(text):
            for span in self._search(view.text, self._gate.open(view.text), about):
                yield view.original(span)

    def _search(self, text: str, opened: frozenset[str], about: str) -> Sequence[Span]:
        surroundings = Surroundings(text, about)
        kept: list[Span] = []
        for recognizer, least in self._chosen(opened):
            if recognizer.best < least and not surroundings.may_support(recognizer.context):
                continue
            found = recognizer.find(text)
            if self._context:
                found = surroundings.enhanced(found, recognizer.context)
            kept += [span for span in found if span.score >= least]
        return kept

    def _choose(self, opened: frozenset[str]) -> Sequence[tuple[Finder, float]]:
        """The recognizers of these names, in order, each with the score that its findings must reach."""
        return [(recognizer, least) for name, recognizer, least in self._running if name in opened]


LONG = 16 * 1024
"""Characters of all texts, beyond which they are long: dense personal data takes some 50 ms then."""


_NEVER = 2.0
_CHOICES = 512
"""Sets of gates that were open in a segment; prose has few, data some dozens."""
_VIEWS = "views"


def entities(recognizers: Sequence[Finder] | None = None) -> tuple[str, ...]:
    """What the recognizers find, by default Presidio's own, in alphabetical order."""
    return tuple(sorted(best_scores(recognizers)))


def best_scores(recognizers: Sequence[Finder] | None = None, *, context: bool = False) -> Mapping[str, float]:
    """Entity → the highest score a finding can get."""
    best: dict[str, float] = {}
    for each in finders() if recognizers is None else recognizers:
        best[each.entity] = max(best.get(each.entity, 0.0), best_of(each, context=context))
    return best
