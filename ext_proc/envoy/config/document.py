"""A configuration file: YAML or JSON in, the same kind out, with comments, order and quotes kept."""

import json
import re
from dataclasses import dataclass
from typing import Any, Final

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from headrace.ext_proc.core.errors import HeadraceError
from headrace.ext_proc.envoy.config.nodes import Node
from headrace.ext_proc.envoy.config.yaml import Style, dump, editor

LIST_UNDER_KEY: Final = re.compile(r"^(?P<key>[ ]*)(?:- )*[^\s#-][^#\n]*:[ ]*\n(?P<dash>[ ]*)-(?P<gap>[ ]+)\S", re.MULTILINE)
KEY_UNDER_KEY: Final = re.compile(r"^(?P<outer>[ ]*)[^\s#-][^#\n]*:[ ]*\n(?P<inner>[ ]+)[^\s#-]", re.MULTILINE)


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
        return Document(name, found, Style(), is_json=True)
    return Document(name, _yaml(text, name, editor(Style())), style_of(text), is_json=False)


def parse_with_lines(text: str, name: str) -> Document:
    """Read a file to examine it: JSON too gets line numbers, but cannot be written again as JSON."""
    if text.lstrip().startswith("{") and _json(text) is not None:
        text = text.replace("\t", " ")  # JSON indents with tabs, YAML does not; within JSON's strings they are escaped
    return Document(name, _yaml(text, name, editor(Style())), Style(), is_json=False)


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
    except ValueError:
        return None


def _yaml(text: str, name: str, yaml: YAML) -> Node:
    try:
        root = yaml.load(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark
        raise ConfigError(f"{name}:{mark.line + 1 if mark else 1}: {error.problem or error.context}") from error
    except (YAMLError, ValueError) as error:
        raise ConfigError(f"{name}: {error}") from error
    if not isinstance(root, dict):
        raise ConfigError(f"{name}:1: this is no Envoy configuration: a mapping with static_resources is")
    return root
