"""Words that a token classifier labelled, put together: names with their initials, numbers with their groups."""

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from headrace.filters.pii.spans import Span


class Word(NamedTuple):
    """`text[start:end]` is most likely an `entity`; `score` is the probability that it is any entity at all."""

    start: int
    end: int
    entity: str
    score: float


# A word is an entity at SURE; beside one, and written like a name or a number, at LIKELY.
SURE = 0.4
LIKELY = 0.05

_ACCOUNTS = frozenset({"US_BANK_NUMBER", "ABA_ROUTING_NUMBER"})
_NUMBERS = frozenset({"PHONE_NUMBER", "US_DRIVER_LICENSE", "US_PASSPORT", "TAX_ID", "GOVERNMENT_ID"}) | _ACCOUNTS
_GROUPS = re.compile(r"[+(]{0,2}[A-Z]{0,3}\d[\w]*(?:[-. ()/]{1,3}\d[\w]*)*")
_LEAST_DIGITS = {"PHONE_NUMBER": 7}
_FEWEST_DIGITS = 4
_GAPS = {"PERSON": re.compile(r"[ \t]{0,2}|\.[ \t]?|[-'’]"), "LOCATION": re.compile(r"[\W_]{0,6}")}
_GAP = re.compile(r"[ \t]?")
_INITIAL = re.compile(r"[^\W\d_]\.?")
_NAME = re.compile(r"[^\W_]")


def compose(text: str, words: Sequence[Word]) -> Sequence[Span]:
    """The findings in a text, by place and apart from each other."""
    return sorted([*_names(text, _chosen(text, words)), *_numbers(text, words)])


def _chosen(text: str, words: Sequence[Word]) -> Iterator[Word]:
    """The words that are part of a name or a place."""
    entity = ["" for _ in words]
    for index, word in enumerate(words):
        if word.score >= SURE and word.entity not in _NUMBERS:
            entity[index] = word.entity
    for step in (1, -1):
        for index in range(len(words))[::step]:
            before = index - step
            if not entity[index] and 0 <= before < len(words) and entity[before] and _goes_on(text, words, index, before):
                entity[index] = entity[before]
    return (word._replace(entity=name) for word, name in zip(words, entity, strict=True) if name)


def _goes_on(text: str, words: Sequence[Word], index: int, neighbour: int) -> bool:
    """Whether the word may belong to the name that its neighbour is part of."""
    first, last = sorted((words[index], words[neighbour]))
    word = text[words[index].start : words[index].end]
    near = not text[first.end : last.start].strip(" \t\n.")
    if not near or words[index].entity in _NUMBERS:
        return False
    if words[index].score >= LIKELY and words[index].entity == words[neighbour].entity:
        return word[:1].isupper() or word.isdigit() or not word.isalnum()
    return False


def _names(text: str, words: Iterator[Word]) -> Iterator[Span]:
    """Neighbours of one entity as one finding; what has no letter and no digit is none."""
    joined: Word | None = None
    for word in words:
        if joined is not None and joined.entity == word.entity and _together(text[joined.end : word.start], word.entity):
            joined = joined._replace(end=word.end, score=max(joined.score, word.score))
            continue
        yield from _finding(text, joined)
        joined = word
    yield from _finding(text, joined)


def _together(gap: str, entity: str) -> bool:
    if _GAPS.get(entity, _GAP).fullmatch(gap):
        return True
    return entity == "PERSON" and bool(_INITIAL.fullmatch(gap.strip())) and "\n" not in gap and gap.strip()[0].isupper()


def _finding(text: str, word: Word | None) -> Iterator[Span]:
    if word is not None and _NAME.search(text, word.start, word.end):
        end = word.end
        while text[end - 1] in " .,-'’\n\t":
            end -= 1
        if word.entity not in ("PERSON",) or not text[word.start : end].isdigit():
            yield Span(word.start, end, word.entity, round(word.score, 4))


def _numbers(text: str, words: Sequence[Word]) -> Iterator[Span]:
    """A number with all its groups is what its first labelled group is."""
    labelled = [word for word in words if word.entity in _NUMBERS and word.score >= SURE]
    if not labelled:
        return
    for groups in _GROUPS.finditer(text):
        start, end = groups.span()
        inside = [word for word in labelled if word.start < end and word.end > start]
        if not inside:
            continue
        entity = next((word.entity for word in inside if text[word.start].isalnum()), inside[0].entity)
        digits = sum(map(str.isdigit, groups[0]))
        if digits >= _LEAST_DIGITS.get(entity, _FEWEST_DIGITS):
            yield Span(start, end, entity, round(max(word.score for word in inside), 4))
