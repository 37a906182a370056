"""Positions in a text, such as a citation's, where parts of the text are replaced by longer or shorter ones."""

from bisect import bisect_right
from collections.abc import Callable, Iterator
from typing import Any, Final

from headrace.ext_proc.core.verdict import Json, Path, SetMember

Document = dict[str, Any]

_POSITIONS: Final = ("start_index", "end_index")
_HOLDERS: Final = ("text", "content")
"""Members whose text the `annotations` beside them are of, in parts of the Responses API and in messages of chats."""

Move = Callable[[int], int | None]
"""From a position in a text to where it is now; None where that is not known."""


class Moves:
    """Where the characters of one text went. Replacements are told in their order."""

    __slots__ = ("_ends", "_shifts", "_starts")

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []
        self._shifts = [0]

    def replaced(self, start: int, end: int, by: str) -> None:
        """by: what stands in place of the characters from `start` to `end`."""
        self._starts.append(start)
        self._ends.append(end)
        self._shifts.append(self._shifts[-1] + len(by) - (end - start))

    def of(self, position: int) -> int:
        """Within what was replaced, where that begins."""
        before = bisect_right(self._ends, position)
        if before < len(self._starts):
            position = min(position, self._starts[before])
        return position + self._shifts[before]


def of_annotations(document: Json, path: Path, move: Move) -> Iterator[SetMember]:
    """The new positions in the annotations of the text at `path`."""
    if path and path[-1] in _HOLDERS:
        holder = _at(document, path[:-1])
        annotations = holder.get("annotations") if isinstance(holder, dict) else None
        for index, annotation in enumerate(annotations if isinstance(annotations, list) else ()):
            yield from of_annotation(annotation, (*path[:-1], "annotations", index), move)


def of_annotation(annotation: Json, path: Path, move: Move) -> Iterator[SetMember]:
    """The new positions in the annotation that stands at `path`. A chat's has them in its `url_citation`."""
    if not isinstance(annotation, dict):
        return
    for name in _POSITIONS:
        old = annotation.get(name)
        if isinstance(old, int) and (new := move(old)) not in (old, None):
            yield SetMember((*path, name), new)
    yield from of_annotation(annotation.get("url_citation"), (*path, "url_citation"), move)


def is_known(annotation: Document, move: Move) -> bool:
    """Whether all positions of an annotation are."""
    inner = annotation.get("url_citation")
    holder = inner if isinstance(inner, dict) else annotation
    return all(move(old) is not None for name in _POSITIONS if isinstance(old := holder.get(name), int))


def _at(document: Any, path: Path) -> Any:
    for step in path:
        document = document[step]
    return document
