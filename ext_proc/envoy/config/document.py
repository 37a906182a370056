"""A configuration file: YAML or JSON in, the same kind out, with comments, order and quotes kept."""

import json
import re
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from ruamel.yaml.error import MarkedYAMLError, YAMLError

from headrace.ext_proc.core.errors import HeadraceError
from headrace.ext_proc.envoy.config.nodes import Node
from headrace.ext_proc.envoy.config.yaml import Style, dump, editor

LIST_UNDER_KEY: Final = re.compile(r"^(?P<key>[ ]*)(?:- )*[^\s#-][^#\n]*:[ ]*\n(?P<dash>[ ]*)-(?P<gap>[ ]+)\S", re.MULTILINE)
KEY_UNDER_KEY: Final = re.compile(r"^(?P<outer>[ ]*)[^\s#-][^#\n]*:[ ]*\n(?P<inner>[ ]+)[^\s#-]", re.MULTILINE)


ENVOY: Final = "this is no Envoy configuration: a mapping with static_resources is"
MAX_DEPTH: Final = 100  # Envoy's parser of messages ends there, too
MAX_VALUES: Final = 1_000_000  # a dump of ten thousand routes; aliases of aliases multiply beyond it


class ConfigError(HeadraceError):
    """What is wrong with a configuration file, as `file:line: what, and what would be right`."""


@dataclass
class Document:
    """A parsed file. `root` may be edited and written again with `text()`."""

    name: str
    root: Node
    style: Style
    is_json: bool

    def text(self) -> str:
        if self.is_json:
            return json.dumps(self.root, indent=2, ensure_ascii=False) + "\n"
        return dump(self.root, self.style)

    def error(self, line: int, message: str) -> ConfigError:
        return ConfigError(f"{self.name}:{line}: {message}" if line else f"{self.name}: {message}")


def parse(text: str, name: str) -> Document:
    """Read a file to edit it. ConfigError where it is neither YAML nor JSON, or more than one document."""
    if text.lstrip().startswith("{") and (found := _json(text)) is not None:
        return Document(name, _bounded(found, name), Style(), is_json=True)
    return Document(name, load(text, name), style_of(text), is_json=False)


def parse_with_lines(text: str, name: str) -> Document:
    """Read a file to examine it: JSON too gets line numbers, but cannot be written again as JSON."""
    return Document(name, load(text, name), Style(), is_json=False)


def load(text: str, name: str, holds: str = ENVOY) -> Node:
    """The mapping that a YAML or JSON text is, with lines. holds: what a text that is no mapping should have been.

    Raises ConfigError.
    """
    if text.lstrip().startswith("{") and _json(text) is not None:
        text = text.replace("\t", " ")  # JSON indents with tabs, YAML does not; within JSON's strings they are escaped
    root = _yaml(text, name)
    if not isinstance(root, dict):
        raise ConfigError(f"{name}:1: {holds}")
    return _bounded(root, name)


def style_of(text: str) -> Style:
    """The indentation a YAML text uses, from its first list and its first nested mapping."""
    listed, nested = LIST_UNDER_KEY.search(text), KEY_UNDER_KEY.search(text)
    mapping = len(nested["inner"]) - len(nested["outer"]) if nested else 2
    if listed is None or mapping <= 0:
        return Style()
    offset = max(0, len(listed["dash"]) - len(listed["key"]))
    return Style(mapping=mapping, sequence=offset + 1 + len(listed["gap"]), offset=offset)


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _yaml(text: str, name: str) -> Node:
    try:
        return editor(Style()).load(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark
        raise ConfigError(f"{name}:{mark.line + 1 if mark else 1}: {error.problem or error.context}") from error
    except RecursionError:
        raise ConfigError(f"{name}: {_TOO_DEEP}") from None
    except (YAMLError, ValueError) as error:
        raise ConfigError(f"{name}: {error}") from error


def _bounded(root: Node, name: str) -> Node:
    """`root`, which whoever walks it is through with. Raises ConfigError."""
    try:
        _measure(root, 0, {})
    except ValueError as error:
        raise ConfigError(f"{name}: {error}") from None
    return root


_Size: TypeAlias = tuple[int, int]
"""Of a value: how many values it holds, itself and those behind aliases included, and how deep they are nested."""


def _measure(node: Node, depth: int, known: dict[int, _Size]) -> _Size:
    """known: the sizes of mappings and lists, by id. Raises ValueError for one that is too deep, as one that holds itself is, or
    too large.
    """
    if not isinstance(node, dict | list):
        return 1, 0
    if id(node) not in known:
        if depth > MAX_DEPTH:
            raise ValueError(_TOO_DEEP)
        inner = [_measure(child, depth + 1, known) for child in (node.values() if isinstance(node, dict) else node)]
        known[id(node)] = _checked(1 + sum(size for size, _ in inner), 1 + max((height for _, height in inner), default=0))
    return known[id(node)]


def _checked(size: int, height: int) -> _Size:
    if height > MAX_DEPTH:
        raise ValueError(_TOO_DEEP)
    if size > MAX_VALUES:
        raise ValueError(f"more than {MAX_VALUES:,} values, those behind aliases counted each time")
    return size, height


_TOO_DEEP: Final = f"nested more than {MAX_DEPTH} levels deep"
