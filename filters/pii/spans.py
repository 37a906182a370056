"""What a detector finds, and how findings that overlap are reduced."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from headrace.filters.pii.allowance import Allowance
    from headrace.filters.pii.beginnings import Beginnings
    from headrace.filters.pii.cutter import Size


class Span(NamedTuple):
    """A finding: `text[start:end]` (code points) is an `entity`, with a score above 0 and up to 1."""

    start: int
    end: int
    entity: str
    score: float


Named = tuple[str, str]
"""A text, and the names of the members that hold it."""


Read = Callable[[Sequence[str]], Sequence[Sequence[Span]]]
"""What models find in some segments."""


class LongTexts(Protocol):
    """Who searches long texts in another process, so that this one's interpreter is free for others."""

    def find(self, texts: Sequence[Named], allowance: "Allowance", read: Read | None = None) -> Sequence[Sequence[Span]] | None:
        """The findings in each text; None where nobody there can tell now. Raises DetectionTimeout, and what `read` raises.

        read: asked for what models find, where they are to be asked.
        """
        ...


class Detector(Protocol):
    """Finds personal data in a text, segment by segment. waits: it asks other processes, which the event loop must not wait for.

    size: how long segments are.
    """

    @property
    def waits(self) -> bool: ...

    @property
    def size(self) -> "Size": ...

    @property
    def beginnings(self) -> "Beginnings | None":
        """Where findings may begin; None when nothing is known of that."""
        ...

    def ready(self) -> None:
        """Waits until patterns can be searched for; who searches earlier waits then."""
        ...

    def places(self, text: str, most: int) -> int | None:
        """How many places of `text` look as a finding may, at a fraction of what a search costs; None for more than `most`."""
        ...

    def detect_all(self, texts: Sequence[Named], allowance: "Allowance") -> Iterator[Sequence[Span]]:
        """`detect` for each text, in order. Whoever asks other processes asks once for all of them. Raises DetectionTimeout."""
        ...

    def detect(self, text: str, allowance: "Allowance | None" = None, about: str = "") -> tuple[Span, ...]:
        """Findings by place in the text; they may overlap. Raises DetectionTimeout.

        allowance: absent, there is no limit. about: the names of the members that hold the text.
        """
        ...

    def segment(self, text: str, about: str = "") -> tuple[Span, ...]:
        """Findings in one segment, as a stream cuts them. Raises DetectionTimeout."""
        ...


class DetectionTimeout(Exception):
    """A text could not be searched in time; nothing is known about it."""


def without_duplicates(spans: Iterable[Span]) -> tuple[Span, ...]:
    """Presidio's `remove_duplicates`: a span inside another of its entity, with no higher score, goes. By place in the text."""
    distinct = set(spans)
    if len(distinct) == 1:
        return tuple(distinct)
    kept: list[Span] = []
    active: dict[str, list[Span]] = {}
    for span in sorted(distinct, key=_outer_first):
        rivals = [other for other in active.get(span.entity, ()) if other.end >= span.start]
        if not any(span.end <= other.end and span.score <= other.score for other in rivals):
            kept.append(span)
            rivals.append(span)
        active[span.entity] = rivals
    return tuple(kept)


def _outer_first(span: Span) -> tuple[int, int, float, str]:
    return (span.start, -span.end, -span.score, span.entity)


def _alike(_: Span) -> int:
    return 0


def disjoint(spans: Iterable[Span], rank: Callable[[Span], int] = _alike) -> list[Span]:
    """Spans that overlap become one that covers them all, named after the one of the highest rank, then score, then length.

    No character of a finding is left outside: an e-mail address whose domain is also a URL is one EMAIL_ADDRESS.
    """
    merged: list[Span] = []
    best: Span | None = None
    for span in sorted(spans, key=_outer_first):
        if best is None or span.start >= merged[-1].end:
            merged.append(span)
            best = span
            continue
        best = max(best, span, key=lambda each: (rank(each), each.score, each.end - each.start))
        merged[-1] = Span(merged[-1].start, max(merged[-1].end, span.end), best.entity, best.score)
    return merged
