"""Recognizers as data: an entity's patterns with Presidio's own validation."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import regex  # type: ignore[import-untyped]

from headrace.filters.pii.beginnings import Beginning
from headrace.filters.pii.context import raised
from headrace.filters.pii.linear import linear
from headrace.filters.pii.spans import DetectionTimeout, Span

# One pattern over one block of text. The default patterns need milliseconds; this bounds the quadratic ones on hostile text.
PATTERN_SECONDS = 2.0
MAX_SCORE = 1.0
MIN_SCORE = 0.0

Verdict = Callable[[str], bool | None]


class Finder(Protocol):
    """A recognizer. name: no two have the same. best: the highest score without context. context: words, in lower case."""

    @property
    def name(self) -> str: ...

    @property
    def entity(self) -> str: ...

    @property
    def best(self) -> float: ...

    @property
    def context(self) -> tuple[str, ...]: ...

    @property
    def gates(self) -> tuple[str, ...]:
        """Expressions of which one matches wherever this finds something in ASCII text; empty when nothing is known."""
        ...

    @property
    def hints(self) -> tuple[str, ...]:
        """The same for any text, and quickly compiled; they are preferred. Empty when there are none."""
        ...

    @property
    def beginnings(self) -> Sequence[Beginning] | None:
        """Of which one matches from where a finding begins, unless it begins with a digit, a bracket, or a word with a mark of
        addresses in it; None when nothing is known."""
        ...

    def find(self, text: str) -> Iterable[Span]:
        """What is found in one segment, duplicates included. Raises DetectionTimeout."""
        ...


def best_of(found: Finder, *, context: bool) -> float:
    """The highest score a recognizer can give, with or without context words."""
    return raised(found.best) if context and found.context else found.best


@dataclass(frozen=True)
class LazyPattern:
    """One regex of a recognizer, under Presidio's name for it; `score` is what a match gets that no checksum judges.

    Compiled when it is first needed: a policy runs a third of the recognizers there are, and all of them take half a second.
    """

    name: str
    source: str
    flags: int
    score: float

    @cached_property
    def expression(self) -> "regex.Pattern[str]":
        return regex.compile(self.source, self.flags)

    @cached_property
    def linear(self) -> Any:
        """The same in RE2, for ASCII text, without groups; None where there is none."""
        return linear(self.source, self.flags)


@dataclass(frozen=True, slots=True)
class Recognizer:
    """One entity's patterns with Presidio's own validation.

    name: Presidio's class name. best: the highest score a match can get. context: words, in lower case, that raise it.
    """

    name: str
    entity: str
    patterns: tuple[LazyPattern, ...]
    validate: Verdict
    invalidate: Verdict
    best: float
    context: tuple[str, ...] = ()

    @property
    def hints(self) -> tuple[str, ...]:
        return ()

    @property
    def gates(self) -> tuple[str, ...]:
        return tuple(pattern.source for pattern in self.patterns)

    @property
    def beginnings(self) -> Sequence[Beginning] | None:
        return [Beginning(pattern.source, pattern.flags) for pattern in self.patterns]

    def find(self, text: str) -> Sequence[Span]:
        """What `PatternRecognizer.analyze` finds, before duplicates are removed. Raises DetectionTimeout, where Presidio skips."""
        found = []
        for pattern in self.patterns:
            for start, end in self.spans(pattern, text):
                score = self._score(pattern, text[start:end]) if end > start else MIN_SCORE
                if score > MIN_SCORE:
                    found.append(Span(start, end, self.entity, score))
        return found

    def spans(self, pattern: LazyPattern, text: str) -> Iterable[tuple[int, int]]:
        """Where `finditer` finds the pattern. Raises DetectionTimeout."""
        if text.isascii() and pattern.linear is not None:
            return [match.span() for match in pattern.linear.finditer(text.encode())]
        return (match.span() for match in self.matches(pattern, text))

    def matches(self, pattern: LazyPattern, text: str) -> "Iterator[regex.Match[str]]":
        """The same with groups, in the pattern's own engine. Raises DetectionTimeout."""
        try:
            yield from pattern.expression.finditer(text, timeout=PATTERN_SECONDS)
        except TimeoutError:
            raise DetectionTimeout(f"a pattern of {self.name} took more than {PATTERN_SECONDS} s") from None

    def _score(self, pattern: LazyPattern, found: str) -> float:
        valid = self.validate(found)
        if self.invalidate(found):
            return MIN_SCORE
        if valid is None:
            return pattern.score
        return MAX_SCORE if valid else MIN_SCORE


class IbanRecognizer(Recognizer):
    """Presidio tries an IBAN's groups from the longest to the shortest, until one has a valid checksum."""

    def find(self, text: str) -> Sequence[Span]:
        return [
            span
            for pattern in self.patterns
            for match in self.matches(pattern, text)
            for span in self._longest(pattern, text, match)
        ]

    def _longest(self, pattern: LazyPattern, text: str, match: "regex.Match[str]") -> Iterator[Span]:
        start = match.start()
        for group in range(len(match.groups()), 0, -1):
            end = match.end(group) if match.end(group) > 0 else match.end()
            valid = self.validate(text[start:end]) if end > start else False
            if valid is None or valid:
                yield Span(start, end, self.entity, pattern.score if valid is None else MAX_SCORE)
                return
