"""Findings replaced where they stand: in a text, in JSON inside a string, in text that is encoded."""

from collections.abc import Sequence
from dataclasses import dataclass

from headrace.ext_proc.core.errors import BodyError
from headrace.ext_proc.core.verdict import Path, SetMember
from headrace.filters.pii.actions import Substitute, Substitutes
from headrace.filters.pii.embedded import rewritten
from headrace.filters.pii.encoded import Encoded
from headrace.filters.pii.moves import Moves
from headrace.filters.pii.spans import Span
from headrace.filters.pii.strings import Text


@dataclass(slots=True, frozen=True, eq=False)
class JsonString:
    """A string that holds JSON, whose values are searched one by one."""

    text: Text


Encoding = JsonString | Encoded


@dataclass(slots=True)
class Found:
    """Findings in one text, apart from each other and in order. outer: what the text stands encoded in."""

    text: Text
    spans: Sequence[Span]
    outer: Encoding | None = None

    @property
    def path(self) -> Path:
        """Where it stands in the body; what is inside a string has the string's place."""
        return self.outer.text.path if isinstance(self.outer, JsonString) else self.text.path


def substituted(text: str, spans: Sequence[Span], substitute: Substitute, moves: Moves | None = None, at: int = 0) -> str:
    """`text` with its findings replaced; quotes that a finding has around it stay, because text that quotes is often JSON.

    moves: is told of them, where the text begins at `at`.
    """
    out, done = [], 0
    for span in spans:
        quotes = 1 if _is_quoted(text, span) else 0
        start, end = span.start + quotes, span.end - quotes
        instead = substitute(span, text[start:end])
        if moves is not None:
            moves.replaced(at + start, at + end, instead)
        out += [text[done:start], instead]
        done = end
    return "".join([*out, text[done:]])


def _is_quoted(text: str, span: Span) -> bool:
    first, last = text[span.start], text[span.end - 1]
    return first == last and first in "\"'" and span.end - span.start > 2


def members(found: Sequence[Found], substitute: Substitutes) -> list[SetMember]:
    """The body's members whose findings are replaced."""
    edits: list[SetMember] = []
    inner: dict[JsonString, list[tuple[SetMember, Sequence[Span]]]] = {}
    for each in found:
        new = substituted(each.text.text, each.spans, substitute)
        if new == each.text.text:
            continue
        if isinstance(each.outer, JsonString):
            inner.setdefault(each.outer, []).append((SetMember(each.text.path, new), each.spans))
        else:
            edits.append(SetMember(each.text.path, each.outer.closed(new) if each.outer else new))
    return edits + [SetMember(outer.text.path, _embedded(outer.text.text, changes, substitute)) for outer, changes in inner.items()]


def _embedded(text: str, changes: Sequence[tuple[SetMember, Sequence[Span]]], substitute: Substitutes) -> str:
    try:
        return rewritten(text, [edit for edit, _ in changes])
    except BodyError:  # half of a surrogate pair beside a finding: the string as a whole is replaced
        return substitute.whole(text, [span for _, spans in changes for span in spans])
