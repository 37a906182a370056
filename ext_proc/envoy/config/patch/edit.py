"""Small edits of a parsed document: new parts in its own indentation, with their comments, and everybody else's left alone."""

from collections.abc import Iterator, Mapping, MutableMapping, MutableSequence
from dataclasses import dataclass, replace
from typing import Any

from ruamel.yaml.comments import CommentedBase, CommentedMap, CommentedSeq

from headrace.ext_proc.envoy.config.document import Document
from headrace.ext_proc.envoy.config.nodes import Node, key_of
from headrace.ext_proc.envoy.config.patch.tails import give, hand_over, take, token
from headrace.ext_proc.envoy.config.yaml import ITEM, Style, commented, quoted


class Editor:
    """Edits one document in place. Settings are named in snake_case; where the file has the other spelling, that one is kept."""

    def __init__(self, document: Document) -> None:
        self._document = document

    def insert(self, parent: MutableMapping[str, Node], name: str, item: Any, at: int | None = None) -> None:
        """Put `item` into the list `parent[name]`, at its end by default; the list is made where there is none."""
        key = key_of(parent, name)
        if key is None or not parent[key]:
            self.set(parent, name, [item])
            return
        listed: MutableSequence[Node] = parent[key]
        place = len(listed) if at is None else at
        new = self._built(item, listed)
        if place:
            hand_over(listed[place - 1], new)
        listed.insert(place, new)

    def replace(self, parent: MutableMapping[str, Node], name: str, at: int, item: Any) -> None:
        """Put `item` in the place of an item of the list `parent[name]`."""
        listed: MutableSequence[Node] = parent[str(key_of(parent, name))]
        new = self._built(item, listed)
        hand_over(listed[at], new)
        listed[at] = new

    def remove(self, parent: MutableMapping[str, Node], name: str, at: int) -> None:
        """Take an item out of the list `parent[name]`, and the list with its last item."""
        key = str(key_of(parent, name))
        gone = parent[key].pop(at)
        if at and isinstance(parent[key][at - 1], CommentedBase) and (below := take(gone)):
            give(parent[key][at - 1], below)
        if not parent[key]:
            del parent[key]

    def set(self, parent: MutableMapping[str, Node], name: str, value: Any) -> None:
        """Set a key; a new one goes to the end of the mapping."""
        key = key_of(parent, name) or name
        if not isinstance(parent, CommentedMap):
            parent[key] = value
            return
        place = self._place(parent)
        if place.flow:
            parent[key] = quoted(value)
            return
        below = "" if key in parent else take(parent)
        built = commented({"": None, name: value}, place.column, self._document.style, place.path)
        parent[key] = built[name]
        if key == name:
            _copy_comments(built, parent, name)
        if below:
            _end_with(parent, key, below)

    def _built(self, item: Any, listed: Node) -> Node:
        place = self._place(listed)
        if self._document.is_json:
            return item
        if place.flow:
            return quoted(item)
        return commented(item, place.column, self._document.style, place.path + ITEM)

    def _place(self, target: Node) -> "_Place":
        return next(place for node, place in self._places(self._document.root, _Place()) if node is target)

    def _places(self, node: Node, place: "_Place") -> Iterator[tuple[Node, "_Place"]]:
        """Every mapping and list with its place."""
        if not isinstance(node, Mapping | list):
            return
        if isinstance(node, CommentedMap | CommentedSeq) and node.fa.flow_style():
            place = replace(place, flow=True)
        yield node, place
        for key, value in node.items() if isinstance(node, Mapping) else ((ITEM, item) for item in node):
            yield from self._places(value, place.within(key, value, self._document.style))


@dataclass(frozen=True)
class _Place:
    """The column a mapping's keys, or a list's items, are written at; the keys above; whether it is in {flow: style}."""

    column: int = 0
    path: str = ""
    flow: bool = False

    def within(self, key: str, value: Node, style: Style) -> "_Place":
        if key == ITEM:
            return _Place(self.column + (style.sequence if isinstance(value, list) else 0), self.path + ITEM, self.flow)
        step = style.sequence if isinstance(value, list) else style.mapping
        return _Place(self.column + step, f"{self.path}.{key}", self.flow)


def _copy_comments(source: CommentedMap, target: CommentedMap, key: str) -> None:
    if (slots := source.ca.items.get(key)) and slots[1]:
        target.ca.items.setdefault(key, [None, None, None, None])[1] = slots[1]


def _end_with(parent: CommentedMap, key: str, below: str) -> None:
    """Let comment lines that stood below `parent` stand below its new last key."""
    if isinstance(parent[key], list | CommentedMap):
        give(parent[key], below)
    else:
        parent.ca.items.setdefault(key, [None, None, None, None])[2] = token(below)
