"""Every string of a request body, with its place: what nobody declared is text, searched, and told."""

import re
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Union

from msgspec import Struct

from headrace.ext_proc.core.verdict import Json, Path
from headrace.filters.pii.encoded import BASE64, head_of, is_readable
from headrace.filters.pii.views import LEAST_RUN, holds_text


class Kind(Enum):
    """How a declared string is read."""

    TEXT = "text"
    WORD = "word"
    """A word of the protocol: a model's name, a role, an id. Skipped while it looks like one."""
    MEDIA = "media"
    """An image, audio, a file: text in base64 is searched decoded; other bytes are not looked at, and counted."""
    REFERENCE = "reference"
    """The id of a file that the upstream has: not looked at, and counted."""
    CREDENTIAL = "credential"
    """What the upstream is to show a server of tools: not looked at, and counted."""
    LINK = "link"
    """Where the upstream is to go, or not to: searched for everything but URLs."""
    EMBEDDED = "embedded"
    """JSON inside a string: its values are searched, decoded."""
    SIGNED = "signed"
    """What a provider wrote: not looked at, and counted, where its object has a signature; text elsewhere."""
    FREE = "free"
    """Values of the client's own making, numbers included."""
    UNKNOWN = "unknown"
    """What no rule names: searched as text, and told."""


Rule = Union[Kind, "Rules"]
Rules = dict[str, "Rule"]
"""Member name → rule. Lists are looked through. Some names have a meaning of their own:

"" is the rule of a string where members are expected, "*" of members not named whose names should be words, OTHERS of members that
the client names itself, and OF_TYPE holds other rules for objects with these values of `type`.
"""
OTHERS, OF_TYPE = "**", "?"

_NO_RULES: Rules = {}
# What no name, id or model needs a second look for. Longer, or with other characters, it is text, wherever it stands.
_WORD = re.compile(r"[A-Za-z0-9_.:/#$\-]{0,256}")
_PLAIN_NAME = re.compile(r"[A-Za-z_]{1,64}|[0-9]{1,6}")
"""A setting's name, or a token's id: vocabularies have fewer than a million tokens."""
_READ_AS = {Kind.EMBEDDED: Kind.EMBEDDED, Kind.LINK: Kind.LINK, Kind.FREE: Kind.FREE, Kind.UNKNOWN: Kind.FREE}
# A number below a million has six digits or fewer; it is nobody's card, and seldom a telephone number.
_LEAST_NUMBER = 1_000_000
# Shorter, base64 is searched as it stands, too: a card's number is base64 as well.
_LEAST_BYTES = 64


class Text(Struct, frozen=True, gc=False):  # a prompt has hundreds
    """A string (or a number, spelled) at `path`. `kind`: TEXT, LINK, EMBEDDED, MEDIA for one to be searched decoded, or FREE."""

    path: Path
    text: str
    kind: Kind = Kind.TEXT

    @property
    def about(self) -> str:
        """The names that whoever wrote the text gave to what holds it; they say what it is, as words before it do in prose."""
        return last_names(self.path) if self.kind is Kind.FREE else ""


@dataclass(slots=True)
class Collected:
    """The texts of a document; the names of its members that the API does not define, with the paths of their objects.

    undeclared: the paths of strings that no rule names. unread: what was not looked at, by the last names of its place.
    """

    texts: list[Text] = field(default_factory=list)
    names: dict[str, Path] = field(default_factory=dict)
    undeclared: list[Path] = field(default_factory=list)
    unread: dict[str, int] = field(default_factory=dict)

    def count_unread(self, path: Path) -> None:
        """Under the last names of its place: image_url.url, input_audio.data, file.file_id."""
        name = last_names(path)
        self.unread[name] = self.unread.get(name, 0) + 1


def collect(document: Json, rule: Rule = Kind.UNKNOWN) -> Collected:
    """Walks a parsed document. Its depth is bounded by whoever parsed it."""
    found = Collected()
    _visit(found, document, (), rule)
    return found


def _visit(found: Collected, value: Any, path: Path, rule: Rule) -> None:
    kind = value.__class__
    if kind is str:
        _string(found, value, path, rule)
    elif kind is dict:
        _members(found, value, path, rule)
    elif kind is list:
        for index, item in enumerate(value):
            if item.__class__ is dict:
                _members(found, item, (*path, index), rule)
            else:
                _visit(found, item, (*path, index), rule)
    elif rule is Kind.FREE and kind is int and abs(value) >= _LEAST_NUMBER:
        found.texts.append(Text(path, str(value), Kind.FREE))


def _members(found: Collected, members: dict[str, Any], path: Path, rule: Rule) -> None:
    rules, other = _rules_of(members, rule)
    for name, value in members.items():
        inner = rules.get(name)
        if inner is None:
            inner = other
            if "*" not in rules or _PLAIN_NAME.fullmatch(name) is None:
                found.names.setdefault(name, path)
        if value.__class__ is not str:
            if value.__class__ is dict or value.__class__ is list or inner is Kind.FREE:
                _visit(found, value, (*path, name), inner)
        elif inner is Kind.TEXT:
            if value:
                found.texts.append(Text((*path, name), value))
        elif inner is Kind.SIGNED and value and is_signed(members):
            found.count_unread((*path, name))
        elif inner is not Kind.WORD or not is_word(value):
            _string(found, value, (*path, name), inner)


def _rules_of(members: dict[str, Any], rule: Rule) -> tuple[Rules, Rule]:
    """Those of an object's members by their names, and the one of all others."""
    if not isinstance(rule, dict):
        return _NO_RULES, Kind.FREE if rule is Kind.FREE else Kind.UNKNOWN
    rules = _typed(members, rule) if OF_TYPE in rule else rule
    return rules, rule.get("*") or rule.get(OTHERS) or Kind.UNKNOWN


def _typed(members: dict[str, Any], rules: Rules) -> Rules:
    """The rules of an object whose `type` has rules of its own."""
    of_type, kind = rules[OF_TYPE], members.get("type")
    chosen = of_type.get(kind, rules) if isinstance(of_type, dict) and isinstance(kind, str) else rules
    return chosen if isinstance(chosen, dict) else rules


def _string(found: Collected, value: str, path: Path, rule: Rule) -> None:
    kind = rule if isinstance(rule, Kind) else rule.get("", Kind.TEXT)
    if not value or (kind is Kind.WORD and is_word(value)):
        return
    if kind is Kind.UNKNOWN:
        found.undeclared.append(path)
    if kind is Kind.MEDIA:
        _media(found, value, path)
    elif kind is Kind.CREDENTIAL or (kind is Kind.REFERENCE and is_word(value)):
        found.count_unread(path)
    else:
        found.texts.append(Text(path, value, _READ_AS.get(kind, Kind.TEXT) if isinstance(kind, Kind) else Kind.TEXT))


def _media(found: Collected, value: str, path: Path) -> None:
    if value[:4].lower() == "http":
        found.texts.append(Text(path, value, Kind.LINK))
        found.count_unread(path)
    elif is_readable(value):
        found.texts.append(Text(path, value, Kind.MEDIA))
    elif not is_opaque(value):
        found.texts.append(Text(path, value))
    else:
        found.count_unread(path)
        if len(value) < _LEAST_BYTES:
            found.texts.append(Text(path, value))


def is_word(value: str) -> bool:
    """Whether `value` may pass for a name, an id, or a model: it looks like one, and is no text in base64."""
    return _WORD.fullmatch(value) is not None and (len(value) < LEAST_RUN or not holds_text(value))


def is_signed(members: dict[str, Any]) -> bool:
    """Whether this object has a provider's signature, with which it must come back as it was."""
    signature = members.get("signature")
    return isinstance(signature, str) and signature != ""


def is_opaque(value: str) -> bool:
    """Whether `value` can only be bytes: base64, or a data URL of base64."""
    end, base64, usual = head_of(value)
    return base64 and usual and BASE64.fullmatch(value, end) is not None


def last_names(path: Path) -> str:
    """The last two names on the way to `path`, for counts of what is not looked at."""
    return ".".join([step for step in path if isinstance(step, str)][-2:])


def spelled(path: Path) -> str:
    """`path` for people: messages[0].content. A name that the client may have made up, and put a value into, is a star."""
    return "".join(_step(step) for step in path).removeprefix(".")


def _step(step: str | int) -> str:
    if isinstance(step, int):
        return f"[{step}]"
    return f".{step}" if step.isidentifier() and step.isascii() and len(step) <= 40 and not any(map(str.isdigit, step)) else ".*"
