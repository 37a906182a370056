"""Every string of a request body, with its place: what nobody declared is text, and searched."""

import re
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Union

from headrace.ext_proc.core.verdict import Json, Path


class Kind(Enum):
    """How a declared string is read. Everything else is TEXT."""

    TEXT = "text"
    WORD = "word"
    """A word of the protocol: a model's name, a role, an id. Skipped while it looks like one."""
    MEDIA = "media"
    """An image, audio, or opaque bytes in base64: not looked at, and counted."""
    LINK = "link"
    """The URL of an image: searched for everything but URLs."""
    EMBEDDED = "embedded"
    """JSON inside a string: its values are searched, decoded."""
    FREE = "free"
    """Values of the client's own making, numbers included."""


Rule = Union[Kind, "Rules"]
Rules = dict[str, "Rule"]
"""Member name → rule. "" is the rule of a string where members are expected, "*" of members not named. Lists are looked through."""

_NO_RULES: Rules = {}
# What no name, id or model needs a second look for. Longer, or with other characters, it is text, wherever it stands.
_WORD = re.compile(r"[A-Za-z0-9_.:/#$\-]{0,256}")
_BASE64 = re.compile(r"[A-Za-z0-9+/_\-\r\n]*={0,2}\s*")
_DATA_URL = re.compile(r"data:(?!text/|application/(?:json|xml))[\w.+/\-]*(?:;[\w=.\-]+)*;base64,", re.IGNORECASE)
# A number below a million has six digits or fewer; it is nobody's card, and seldom a telephone number.
_LEAST_NUMBER = 1_000_000


@dataclass(slots=True)  # not frozen: a prompt has hundreds, and freezing triples what making one costs
class Text:
    """A string (or a number, spelled) at `path`. `kind`: TEXT, LINK, EMBEDDED."""

    path: Path
    text: str
    kind: Kind = Kind.TEXT


@dataclass(slots=True)
class Collected:
    """The texts of a document; the names of its members that the API does not define; what was not looked at, by kind of member."""

    texts: list[Text] = field(default_factory=list)
    names: dict[str, Path] = field(default_factory=dict)
    unread: dict[str, int] = field(default_factory=dict)


def collect(document: Json, rule: Rule = _NO_RULES) -> Collected:
    """Walks a parsed document. Its depth is bounded by whoever parsed it."""
    found = Collected()
    _visit(found, document, (), rule)
    return found


def _visit(found: Collected, value: Any, path: Path, rule: Rule) -> None:
    if isinstance(value, str):
        _string(found, value, path, rule)
    elif isinstance(value, dict):
        _members(found, value, path, rule)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            _visit(found, item, (*path, index), rule)
    elif rule is Kind.FREE and isinstance(value, int) and abs(value) >= _LEAST_NUMBER:
        found.texts.append(Text(path, str(value)))


def _members(found: Collected, members: dict[str, Any], path: Path, rule: Rule) -> None:
    rules = rule if isinstance(rule, dict) else _NO_RULES
    other: Rule = Kind.FREE if rule is Kind.FREE else rules.get("*", _NO_RULES)
    for name, value in members.items():
        inner = rules.get(name)
        if inner is None:
            inner = other
            if "*" not in rules:
                found.names.setdefault(name, path)
        if inner is not Kind.WORD or not isinstance(value, str) or not is_word(value):
            _visit(found, value, (*path, name), inner)


def _string(found: Collected, value: str, path: Path, rule: Rule) -> None:
    kind = rule if isinstance(rule, Kind) else _kind_of_string(rule)
    if kind is Kind.WORD and is_word(value):
        return
    if kind is Kind.MEDIA and is_opaque(value):
        name = next(step for step in reversed(path) if isinstance(step, str))
        found.unread[name] = found.unread.get(name, 0) + 1
    elif kind is Kind.MEDIA and value[:4].lower() == "http":
        found.texts.append(Text(path, value, Kind.LINK))
    elif value:
        found.texts.append(Text(path, value, Kind.EMBEDDED if kind is Kind.EMBEDDED else Kind.TEXT))


def _kind_of_string(rules: Rules) -> Kind:
    kind = rules.get("", Kind.TEXT)
    return kind if isinstance(kind, Kind) else Kind.TEXT


def is_word(value: str) -> bool:
    """Whether `value` may pass for a name, an id, or a model."""
    return _WORD.fullmatch(value) is not None


def is_opaque(value: str) -> bool:
    """Whether `value` can only be bytes: base64, or a data URL of base64 that is no text."""
    url = _DATA_URL.match(value)
    return _BASE64.fullmatch(value, url.end() if url else 0) is not None


def spelled(path: Path) -> str:
    """`path` for people: messages[0].content. A name that the client may have made up, and put a value into, is a star."""
    return "".join(_step(step) for step in path).removeprefix(".")


def _step(step: str | int) -> str:
    if isinstance(step, int):
        return f"[{step}]"
    return f".{step}" if step.isidentifier() and step.isascii() and len(step) <= 40 and not any(map(str.isdigit, step)) else ".*"
