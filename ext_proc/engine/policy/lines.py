"""YAML to plain values that remember their lines.

Built from ruamel.yaml's events rather than its objects: an event knows its line, nothing is constructed that the text merely
claims to be (tags), and depth and size are bounded while reading, so that a file of nested aliases or brackets ends early.
Scalars are those of YAML's JSON schema: `on`, `yes` and dates are strings.
"""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    CollectionEndEvent,
    DocumentStartEvent,
    Event,
    MappingStartEvent,
    NodeEvent,
    ScalarEvent,
    SequenceStartEvent,
)

from headrace.ext_proc.engine.policy.problems import PolicyErrors, Problem, Where

MAX_BYTES = 1 << 20  # read at about 300 KB/s: a reload stays within seconds
MAX_DEPTH = 40  # a policy nests 8 levels; filters' settings may add some
MAX_NODES = 200_000  # more than MAX_BYTES of honest YAML holds; aliases of aliases multiply beyond it

_INT = re.compile(r"[-+]?(0|[1-9][0-9_]{0,30})|0x[0-9a-fA-F]{1,16}|0o[0-7]{1,20}")
_FLOAT = re.compile(r"[-+]?(?=.*[.eE])(\.[0-9]+|(0|[1-9][0-9]*)(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_INFINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_WORDS = {"": None, "~": None, "null": None, "Null": None, "NULL": None} | {
    spelling: value for value, word in ((True, "true"), (False, "false")) for spelling in (word, word.title(), word.upper())
}
_STANDARD_TAGS = {None, "!", *(f"tag:yaml.org,2002:{name}" for name in ("str", "map", "seq"))}


@dataclass(frozen=True, slots=True)
class Located:
    """A document of plain values, and the line of each place. file: as problems show it."""

    file: str
    value: Any
    lines: Mapping[Where, int]

    def line_of(self, where: Where) -> int:
        """The line, from 1, of `where`, or of the nearest place around it that is in the file."""
        while where not in self.lines and where:
            where = where[:-1]
        return self.lines.get(where, 1)


def read(path: Path) -> Located:
    """The YAML document in `path`, which must be a mapping.

    Raises PolicyErrors: not to be read, too large, not UTF-8, not one well-formed YAML document, a key twice, no mapping.
    """
    return parse(read_bytes(path, MAX_BYTES), str(path))


def read_bytes(path: Path, limit: int) -> bytes:
    """The content of a regular file of at most `limit` bytes. Raises PolicyErrors."""
    try:
        if path.exists() and not path.is_file():
            raise _error(str(path), 0, "is no regular file")
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except (OSError, ValueError) as error:
        raise _error(str(path), 0, f"cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if len(data) > limit:
        raise _error(str(path), 0, f"is larger than {limit:,} bytes")
    return data


def parse(data: bytes, file: str) -> Located:
    """The document in `data`; `file` names it in problems. Raises PolicyErrors, as `read` does."""
    builder = _Builder(file)
    try:
        builder.build(YAML(typ="safe", pure=True).parse(_text(data, file)))
    except MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 0
        raise _error(file, line, f"not well-formed YAML: {_in_words(error)}") from None
    except (YAMLError, ValueError, RecursionError) as error:
        raise _error(file, 0, f"not well-formed YAML: {' '.join(str(error).split())}") from None
    if builder.problems:
        raise PolicyErrors(builder.problems)
    if not isinstance(builder.root, dict):
        raise _error(file, 1, "must be a mapping of keys to values" if builder.filled else "is empty")
    return Located(file, builder.root, builder.lines)


def _error(file: str, line: int, message: str) -> PolicyErrors:
    return PolicyErrors([Problem(file, line, "", message)])


def _text(data: bytes, file: str) -> str:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _error(file, data.count(b"\n", 0, error.start) + 1, f"byte {data[error.start]:#04x} is not UTF-8") from None
    # The reader's own complaint about these has no line.
    if odd := re.search(r"[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]", text):
        line = text.count("\n", 0, odd.start()) + 1
        raise _error(file, line, f"character U+{ord(odd[0]):04X} may not stand in YAML; write it as an escape in quotes")
    return text


def _in_words(error: MarkedYAMLError) -> str:
    problem = str(error.problem or error.context)
    return next((said for words, said in _IN_WORDS.items() if words in problem), problem)


_IN_WORDS: Final = {
    r"'\t'": "a tab where blanks are due",
    "expected <block end>, but found '<block": "indented unlike the lines above it",
    "expected <block end>, but found '?'": "a key where an item of the list above it is due; begin it with a dash",
    "expected <block end>, but found '-'": "an item of a list among keys, or indented unlike the items above it",
    "unknown escape character": "a backslash in double quotes begins an escape; use single quotes",
}
"""What the parser says, in part → what is wrong."""


@dataclass(slots=True)
class _Frame:
    """A mapping or list that is being filled. size: nodes in it so far, those behind aliases included."""

    where: Where
    value: Any
    anchor: str | None
    key: str | None = None
    key_line: int = 0
    size: int = 1


@dataclass(slots=True)
class _Builder:
    file: str
    problems: list[Problem] = field(default_factory=list)
    lines: dict[Where, int] = field(default_factory=dict)
    root: Any = None
    filled: bool = False
    _stack: list[_Frame] = field(default_factory=list)
    _anchors: dict[str, tuple[Any, int]] = field(default_factory=dict)

    def build(self, events: Iterable[Event]) -> None:
        for event in events:
            line = event.start_mark.line + 1
            if isinstance(event, DocumentStartEvent) and self.filled:
                raise _error(self.file, line, "a second document starts here; a file holds one")
            if isinstance(event, NodeEvent):
                self._node(event, line)
            elif isinstance(event, CollectionEndEvent):
                self._close()

    def _node(self, event: NodeEvent, line: int) -> None:
        self._check_tag(event, line)
        if self._at_key():
            self._key(event, line)
        elif isinstance(event, MappingStartEvent):
            self._open({}, event.anchor, line)
        elif isinstance(event, SequenceStartEvent):
            self._open([], event.anchor, line)
        elif isinstance(event, AliasEvent):
            self._put(*self._aliased(event.anchor, line), line)
        elif isinstance(event, ScalarEvent):
            value = self._scalar(event, line)
            self._name(event.anchor, value, 1)
            self._put(value, 1, line)

    def _check_tag(self, event: NodeEvent, line: int) -> None:
        tag = getattr(event, "tag", None)
        if tag is not None and str(tag) not in _STANDARD_TAGS:
            self._report(line, f"the tag {tag} is not supported")

    def _report(self, line: int, message: str) -> None:
        self.problems.append(Problem(self.file, line, "", message))

    def _at_key(self) -> bool:
        return bool(self._stack) and isinstance(self._stack[-1].value, dict) and self._stack[-1].key is None

    def _key(self, event: NodeEvent, line: int) -> None:
        if not isinstance(event, ScalarEvent):
            raise _error(self.file, line, "a key must be a plain word")
        frame = self._stack[-1]
        frame.key, frame.key_line = self._unicode(event.value, line), line
        if frame.key == "<<":
            self._report(line, "merging with << is not supported; write the keys out")
        if frame.key in frame.value:
            first = self.lines[(*frame.where, frame.key)]
            self._report(line, f"key {frame.key!r} is given twice; first on line {first}")

    def _open(self, value: Any, anchor: str | None, line: int) -> None:
        if len(self._stack) >= MAX_DEPTH:
            raise _error(self.file, line, f"nested more than {MAX_DEPTH} levels deep")
        where = self._put(value, 0, line)
        if anchor is not None:
            self._anchors.pop(anchor, None)
        self._stack.append(_Frame(where, value, anchor))

    def _close(self) -> None:
        frame = self._stack.pop()
        self._name(frame.anchor, frame.value, frame.size)
        if self._stack:
            self._stack[-1].size += frame.size

    def _name(self, anchor: str | None, value: Any, size: int) -> None:
        if anchor is not None:
            self._anchors[anchor] = (value, size)

    def _aliased(self, anchor: str, line: int) -> tuple[Any, int]:
        if anchor not in self._anchors:
            raise _error(self.file, line, f"*{anchor} stands for nothing that ended above it")
        return self._anchors[anchor]

    def _put(self, value: Any, size: int, line: int) -> Where:
        """Puts a value where the next one is due; gives the place."""
        self.filled = True
        if not self._stack:
            self.root, self.lines[()] = value, line
            return ()
        frame = self._stack[-1]
        frame.size += size
        if sum(open_frame.size for open_frame in self._stack) > MAX_NODES:
            raise _error(self.file, line, f"more than {MAX_NODES:,} values, those behind aliases counted each time")
        return self._put_into(frame, value, line)

    def _put_into(self, frame: _Frame, value: Any, line: int) -> Where:
        if isinstance(frame.value, list):
            where: Where = (*frame.where, len(frame.value))
            frame.value.append(value)
        else:
            assert frame.key is not None, "a value of a mapping follows its key"
            where = (*frame.where, frame.key)
            frame.value[frame.key] = value
            frame.key, line = None, frame.key_line
        self.lines[where] = line
        return where

    def _scalar(self, event: ScalarEvent, line: int) -> Any:
        text = self._unicode(event.value, line)
        if event.style is not None or event.tag is not None:
            return text
        if text in _WORDS:
            return _WORDS[text]
        if _INT.fullmatch(text):
            return int(text.replace("_", ""), 0)
        if _FLOAT.fullmatch(text) or _INFINITE.fullmatch(text):
            return self._finite(text, line)
        return text

    def _finite(self, text: str, line: int) -> float:
        number = math.inf if _INFINITE.fullmatch(text) else float(text)
        if math.isinf(number):
            self._report(line, f"{text[:40]} is not a finite number")
        return number

    def _unicode(self, text: str, line: int) -> str:
        """`text` with the pairs of surrogates that JSON's escapes spell made one character."""
        try:
            return text.encode("utf-16", "surrogatepass").decode("utf-16")
        except UnicodeDecodeError:
            self._report(line, "an escape here is half of a surrogate pair, which is no character")
            return ""
