"""Findings of patterns and of models in one segment, made one: a checksum knows better than a model."""

from collections.abc import Iterable, Sequence

from headrace.filters.pii.places import PLACE, addresses, parts
from headrace.filters.pii.spans import Span

# Patterns whose matches are numbers of any kind: a model that reads the words around them knows better.
_VAGUE = 0.4
_READ_BY_MODELS = frozenset({PLACE, "US_DRIVER_LICENSE"})


def fuse(text: str, patterns: Sequence[Span], models: Iterable[Span], *, places: bool) -> tuple[Span, ...]:
    """Findings by place. Those of patterns may overlap each other; those of models overlap nothing.

    places: addresses are put together from what models and patterns know of them.
    """
    kept = list(patterns)
    named: list[Span] = []
    for span in (*(parts(text) if places else ()), *models):
        kept, named = _with(span, kept, named)
    whole = _merged(sorted(named))
    if places:
        whole = addresses(text, whole)
    return tuple(sorted([*kept, *(span for span in whole if not any(_overlap(span, each) for each in kept))]))


def _with(span: Span, kept: list[Span], named: list[Span]) -> tuple[list[Span], list[Span]]:
    """A model's finding taken in, if nothing better stands in its place."""
    if span.entity in _READ_BY_MODELS:
        kept = [each for each in kept if each.score > _VAGUE or not _inside(each, span)]
    if any(_overlap(span, each) for each in kept):
        return kept, named
    others = [each for each in named if _overlap(span, each)]
    if any(each.entity != span.entity for each in others):
        return kept, named
    return kept, [*named, span]


def _merged(spans: Sequence[Span]) -> Sequence[Span]:
    """Findings of one entity that overlap, as one."""
    merged: list[Span] = []
    for span in spans:
        if merged and span.start < merged[-1].end:
            last = merged[-1]
            merged[-1] = last._replace(end=max(last.end, span.end), score=max(last.score, span.score))
        else:
            merged.append(span)
    return merged


def _overlap(one: Span, other: Span) -> bool:
    return one.start < other.end and other.start < one.end


def _inside(inner: Span, outer: Span) -> bool:
    return outer.start <= inner.start and inner.end <= outer.end
