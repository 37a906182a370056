"""Several models as one: the first finds, the others complete it where it does not disagree."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

from headrace.filters.pii.models.names import Model, onnx_file
from headrace.filters.pii.spans import Span


class Ner(Protocol):
    """A model. entities: Presidio's names of what it finds."""

    @property
    def entities(self) -> Sequence[str]: ...

    def find(self, texts: Sequence[str]) -> Sequence[Sequence[Span]]:
        """The findings in each of some segments, by place and apart from each other."""
        ...


@runtime_checkable
class Judge(Ner, Protocol):
    """A model that can tell how likely any word is an entity."""

    def support(self, text: str, span: Span) -> float:
        """The highest probability of a word of the span, in a text of those last searched, that it is an entity of any kind."""
        ...


# A classifier of tokens that gives less to every word of a name is sure that it is none. On the development templates 22 of the 23
# names that spaCy alone found have more, and 43 of the 46 that are none have less.
LEAST_SUPPORT = 0.005
_DOUBTED = frozenset({"PERSON", "ORGANIZATION", "NRP"})


class Ensemble:
    """models: at least one, the best first."""

    def __init__(self, models: Sequence[Ner]) -> None:
        self._models = models
        self._judge = models[0] if isinstance(models[0], Judge) else None
        self.entities = tuple(sorted({entity for model in models for entity in model.entities}))

    def find(self, texts: Sequence[str]) -> Sequence[Sequence[Span]]:
        """By place, for each text; findings of one entity that overlap are one, of others the first model's stands."""
        first, *others = self._models
        found = [list(spans) for spans in first.find(texts)]
        for model in others:
            more = zip(texts, found, model.find(texts), strict=True)
            found = [_completed(known, self._believed(text, spans)) for text, known, spans in more]
        return found

    def _believed(self, text: str, spans: Iterable[Span]) -> Iterator[Span]:
        judge = self._judge
        for span in spans:
            if span.entity not in _DOUBTED or judge is None or judge.support(text, span) >= LEAST_SUPPORT:
                yield span


def _completed(found: Sequence[Span], more: Iterable[Span]) -> list[Span]:
    result = list(found)
    for span in more:
        rivals = [each for each in result if each.start < span.end and span.start < each.end]
        if all(each.entity == span.entity for each in rivals):
            result = [each for each in result if each not in rivals]
            scores = [span.score, *(each.score for each in rivals)]
            start, end = min([span.start, *(each.start for each in rivals)]), max([span.end, *(each.end for each in rivals)])
            result.append(Span(start, end, span.entity, max(scores)))
    return sorted(result)


def load(models: Sequence[Model]) -> Ensemble:
    """Raises ImportError, OSError, KeyError, ValueError and what the runtimes raise for files that are no models of theirs."""
    return Ensemble([_loaded(model) for model in models])


def _loaded(model: Model) -> Ner:
    if model.kind == "spacy":
        from headrace.filters.pii.models.spacy_ner import SpacyNer

        return SpacyNer(model.source)
    from headrace.filters.pii.models.classifier import TokenClassifier

    directory = Path(model.source)
    return TokenClassifier(directory, onnx_file(directory))
