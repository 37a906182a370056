"""What is done to the findings of a segment beyond Presidio's own: source code, values that are allowed."""

from collections.abc import Callable, Collection, Sequence

from headrace.filters.pii.code import plausible
from headrace.filters.pii.spans import Span

Layer = Callable[[str, Sequence[Span]], tuple[Span, ...]]
"""Takes a segment and its findings, gives those that remain. It takes only away, so a segment without findings costs nothing."""


def through(layers: Sequence[Layer], text: str, spans: tuple[Span, ...]) -> tuple[Span, ...]:
    """What remains of the findings in a segment after all layers."""
    for layer in layers if spans else ():
        spans = layer(text, spans)
    return spans


def layers_of(names: Collection[str], allowed: Collection[str]) -> tuple[Layer, ...]:
    """The layers of a policy, in order."""
    return (*([plausible] if "code" in names else ()), *([without(allowed)] if allowed else ()))


def without(allowed: Collection[str]) -> Layer:
    """Takes the allowed values (folded) away, and with them what lies within one, as a domain does in an address."""
    values = frozenset(allowed)

    def layer(text: str, spans: Sequence[Span]) -> tuple[Span, ...]:
        inside = [span for span in spans if text[span.start : span.end].casefold() in values]
        return tuple(span for span in spans if not any(each.start <= span.start and span.end <= each.end for each in inside))

    return layer
