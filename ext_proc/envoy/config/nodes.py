"""Reading a configuration that somebody else wrote: both spellings of every key, line numbers, types."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

Node: TypeAlias = Any
"""A parsed YAML or JSON value: mappings, sequences, scalars."""


def camel(name: str) -> str:
    """`http_filters` → `httpFilters`, the other spelling Envoy takes."""
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


def key_of(node: Node, name: str) -> str | None:
    """The spelling in which `node` has the setting `name`; None when it has it in neither."""
    if not isinstance(node, Mapping):
        return None
    return next((key for key in (name, camel(name)) if key in node), None)


def field(node: Node, *path: str) -> Node:
    """The value below `path` (snake_case names), or None."""
    for name in path:
        key = key_of(node, name)
        if key is None:
            return None
        node = node[key]
    return node


def items(node: Node, *path: str) -> Sequence[Node]:
    """The list below `path`; empty when there is none."""
    found = field(node, *path)
    return found if isinstance(found, Sequence) and not isinstance(found, str) else ()


def type_of(node: Node) -> str:
    """The message type of a typed_config, such as `envoy.…v3.Router`; empty when it does not say."""
    return str(node.get("@type", "")).rpartition("/")[2] if isinstance(node, Mapping) else ""


def is_a(node: Node, name: str) -> bool:
    """Whether a typed_config is of the type whose last word is `name`."""
    return type_of(node).rpartition(".")[2] == name


def line_of(node: Node, key: object = None) -> int:
    """The line, from 1, of a mapping, of one of its keys, or of a list; 0 for nodes that were not parsed from a file."""
    place = getattr(node, "lc", None)
    if place is None:
        return 0
    if isinstance(key, str):
        spelling = key_of(node, key)
        if spelling is not None and spelling in (place.data or {}):
            return int(place.data[spelling][0]) + 1
    return 0 if place.line is None else int(place.line) + 1


def walk(node: Node) -> Iterator[Mapping[str, Node]]:
    """Every mapping within `node`, itself included, from the outside in."""
    if isinstance(node, Mapping):
        yield node
        for value in node.values():
            yield from walk(value)
    elif isinstance(node, Sequence) and not isinstance(node, str):
        for item in node:
            yield from walk(item)


def number(value: Node, default: float) -> float:
    """A number as JSON's protobuf mapping has it: 64-bit integers may be strings."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return default


def seconds(value: Node, default: float) -> float:
    """A duration (`0.2s`) in seconds."""
    return number(str(value).removesuffix("s"), default) if value is not None else default


def plain(node: Node) -> Node:
    """The value without what the parser keeps beside it."""
    if isinstance(node, Mapping):
        return {str(key): plain(value) for key, value in node.items()}
    if isinstance(node, Sequence) and not isinstance(node, str):
        return [plain(item) for item in node]
    return str(node) if isinstance(node, str) else node
