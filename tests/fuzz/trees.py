"""JSON as it is written, rather than as it is meant: members may come twice, and a value may be spelled in any way or wrongly."""

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any


@dataclass
class Member:
    name: "Node"
    value: "Node"


class Members(list[Member]):
    """An object, as its members in order."""


@dataclass(frozen=True)
class Spelled:
    """A value, or a name, as these bytes."""

    raw: bytes


Node = Members | list[Any] | Spelled | str | int | float | bool | None


def tree(value: Any) -> Node:
    """Of a Python document."""
    if isinstance(value, dict):
        return Members(Member(name, tree(inner)) for name, inner in value.items())
    return [tree(item) for item in value] if isinstance(value, list) else value


@dataclass(frozen=True)
class Place:
    """Where a node stands: `holder[index]`, or the value of a member."""

    holder: Any
    index: int

    @property
    def node(self) -> Node:
        held = self.holder[self.index]
        value: Node = held.value if isinstance(held, Member) else held
        return value

    def put(self, node: Node) -> None:
        if isinstance(self.holder, Members):
            self.holder[self.index].value = node
        else:
            self.holder[self.index] = node


def places(node: Node) -> Iterator[Place]:
    """Every node below."""
    if isinstance(node, list):
        for index in range(len(node)):
            place = Place(node, index)
            yield place
            yield from places(place.node)


def objects(node: Node) -> list[Members]:
    """Every object, the root first."""
    below = [place.node for place in places(node)]
    return [found for found in (node, *below) if isinstance(found, Members)]


@dataclass(frozen=True)
class Style:
    """How a document is spelled. escapes: of a hundred characters, those written as \\u escapes."""

    chance: random.Random
    escapes: int = 0
    blanks: tuple[str, ...] = ("",)

    def write(self, node: Node) -> bytes:
        if isinstance(node, Spelled):
            return node.raw
        if isinstance(node, Members):
            inner = b",".join(self._blank() + self.write(one.name) + b":" + self.write(one.value) + self._blank() for one in node)
            return b"{" + inner + b"}"
        if isinstance(node, list):
            items: list[Any] = list(node)
            return b"[" + b",".join(self._blank() + self.write(item) for item in items) + b"]"
        return self._text(node) if isinstance(node, str) else json.dumps(node).encode()

    def _blank(self) -> bytes:
        return self.chance.choice(self.blanks).encode()

    def _text(self, text: str) -> bytes:
        if not self.escapes:
            return json.dumps(text, ensure_ascii=self.chance.random() < 0.5).encode("utf-8", "surrogatepass")
        return b'"' + "".join(self._letter(letter) for letter in text).encode("utf-8", "surrogatepass") + b'"'

    def _letter(self, letter: str) -> str:
        if self.chance.randrange(100) < self.escapes:
            units = letter.encode("utf-16-be", "surrogatepass")
            case = self.chance.choice([str.lower, str.upper])
            return "".join(f"\\u{case(units[at : at + 2].hex())}" for at in range(0, len(units), 2))
        return json.dumps(letter)[1:-1]
