"""Strings of an answer: what is done to each, whole or in pieces, and how a document is changed without touching the given one."""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from headrace.ext_proc.core.json_body import parse_lenient
from headrace.ext_proc.core.verdict import Json, Path, SetMember
from headrace.filters.pii.encoded import is_readable
from headrace.filters.pii.moves import of_annotations
from headrace.filters.pii.restore import TextFlow
from headrace.filters.pii.strings import is_opaque, is_signed, is_word, last_names


class Piece(Protocol):
    """A text of an answer, or the beginning of one."""

    @property
    def json(self) -> bool:
        """Whether it is JSON."""
        ...

    @property
    def sealed(self) -> bool:
        """Whether a provider signed it: it must come back as it was, so that placeholders in it stay."""
        ...


NewFlow = Callable[[Piece], TextFlow]
"""A new flow for one text."""

# Members of answers that are words of the protocol; skipped while they look like one.
_WORDS = frozenset(
    {
        "id", "object", "model", "type", "role", "finish_reason", "stop_reason", "status", "system_fingerprint",
        "service_tier", "call_id", "item_id", "event_id", "name", "format",
        "previous_response_id", "response_id", "tool_use_id", "tool_call_id",
    }
)  # fmt: skip
_OPAQUE = frozenset({"signature", "encrypted_content", "obfuscation", "embedding"})
# Images and sound that a model made, in base64: by the name of the member, or by the type of its object as well.
_MEDIA = frozenset({"data", "b64_json", "partial_image_b64"})
_MEDIA_URLS = frozenset({"url", "image_url"})
_MEDIA_OF_TYPE = {
    "image_generation_call": ("result", "image_generation_call.result"),
    "response.audio.delta": ("delta", "response.audio.delta"),
    "response.output_audio.delta": ("delta", "response.output_audio.delta"),
}
"""Type of an object → its member that is media, and what that is counted as."""
_JSON_MEMBERS = frozenset({"arguments", "partial_json"})
SEALED = frozenset({"thinking", "text", "summary"})
"""Members that the signature beside them is for."""
Document = dict[str, Any]
WRITTEN = frozenset({"arguments", "input", "action"})
"""Members whose objects and lists a model wrote for a tool: no name in them is the protocol's."""
LOGPROBS = "logprobs"
_NO_MEDIA = (None, "")
_HAS_MEMBERS = (dict, list)
_HAS_TEXT = (str, dict, list)


class Then:
    """Two flows, one after the other."""

    def __init__(self, first: TextFlow, second: TextFlow) -> None:
        self._first = first
        self._second = second

    def feed(self, text: str) -> str:
        return self._second.feed(self._first.feed(text))

    def flush(self) -> str:
        return self._second.feed(self._first.flush()) + self._second.flush()

    def whole(self, text: str) -> str:
        return self._second.whole(self._first.whole(text))

    def moved(self, position: int) -> int | None:
        between = self._first.moved(position)
        return None if between is None else self._second.moved(between)

    @property
    def pending(self) -> bool:
        return self._first.pending or self._second.pending


class Beside:
    """Gives the text unchanged and at once; `watcher` only sees it."""

    def __init__(self, watcher: TextFlow) -> None:
        self._watcher = watcher

    def feed(self, text: str) -> str:
        self._watcher.feed(text)
        return text

    def flush(self) -> str:
        self._watcher.flush()
        return ""

    def whole(self, text: str) -> str:
        self._watcher.whole(text)
        return text

    def moved(self, position: int) -> int:
        return position

    @property
    def pending(self) -> bool:
        return False


class Told(NamedTuple):
    """A Piece that is whole. value: at its place stands what its JSON says, and no string."""

    path: Path
    text: str
    json: bool
    value: bool = False
    sealed: bool = False


@dataclass(slots=True)
class Texts:
    """The strings of an answer that are text, in their order, without log probabilities.

    unread: the places of what is not looked at, by the last names of each.
    """

    told: list[Told] = field(default_factory=list)
    unread: Counter[str] = field(default_factory=Counter)


def texts(document: Json) -> Texts:
    """All there are in a parsed answer, or in an event of one."""
    found = Texts()
    _collect(document, (), "", found)
    return found


def _collect(value: Json, path: Path, name: str, found: Texts) -> None:
    """name: of the member that `value` is, or is in a list of. An event is walked for each word that a model writes."""
    if isinstance(value, str):
        if _may_be_media(name, value) and is_opaque(value):
            if value:
                found.unread[last_names(path)] += 1
        elif not _is_protocol(name, value):
            found.told.append(Told(path, value, name in _JSON_MEMBERS))
    elif isinstance(value, dict):
        _collect_members(value, path, found)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            if isinstance(item, _HAS_TEXT):
                _collect(item, (*path, index), name, found)


def _collect_members(members: Document, path: Path, found: Texts) -> None:
    (media, counted), signed = _media_of(members), is_signed(members)
    for key, item in members.items():
        if item and key == media and isinstance(item, str) and is_opaque(item):
            found.unread[counted] += 1
        elif signed and key in SEALED and isinstance(item, str):
            found.told.append(Told((*path, key), item, json=False, sealed=True))
        elif key in WRITTEN and isinstance(item, _HAS_MEMBERS):
            if item:
                found.told.append(Told((*path, key), json.dumps(item), json=True, value=True))
        elif isinstance(item, _HAS_TEXT) and key != LOGPROBS:
            _collect(item, (*path, key), key, found)


def _media_of(members: Document) -> tuple[str | None, str]:
    """The member in which the type of this object has media, and what it is counted as; nothing where it has none."""
    kind = members.get("type")
    return _MEDIA_OF_TYPE.get(kind, _NO_MEDIA) if isinstance(kind, str) else _NO_MEDIA


def _may_be_media(name: str, value: str) -> bool:
    return name in _MEDIA or (name in _MEDIA_URLS and value.startswith("data:") and not is_readable(value))


def _is_protocol(name: str, text: str) -> bool:
    return (name in _WORDS and is_word(text)) or (name in _OPAQUE and is_opaque(text))


def changes(document: Json, found: Iterable[Told], new_flow: NewFlow, skip: Iterable[Path] = ()) -> list[SetMember]:
    """The strings that a flow changes, of those that were found in a document, except at `skip`, and what points into them."""
    left = frozenset(skip)
    changed: list[SetMember] = []
    for told in found:
        if told.path not in left and (new := (flow := new_flow(told)).whole(told.text)) != told.text:
            changed.append(SetMember(told.path, _said(new) if told.value else new))
            changed += of_annotations(document, told.path, flow.moved)
    return changed


def _said(text: str) -> Json:
    """The value that `text` is the JSON of; text that was replaced as a whole stands for itself."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def logprobs_of(document: Json, path: Path = ()) -> Iterator[SetMember]:
    """Takes log probabilities away: they spell the model's words token by token."""
    members = document.items() if isinstance(document, dict) else enumerate(document) if isinstance(document, list) else ()
    for key, value in members:
        if key == LOGPROBS and value:
            yield SetMember((*path, key), None if isinstance(value, dict) else [])
        elif isinstance(value, _HAS_MEMBERS) and key not in WRITTEN:
            yield from logprobs_of(value, (*path, key))


def with_members(document: Json, edits: Sequence[SetMember]) -> Json:
    """A copy of `document` with members set, the outermost last. What is not on the way to one of them is shared."""
    if not edits:
        return document
    copies: dict[Path, Any] = {(): document.copy()}
    for edit in sorted(edits, key=_depth, reverse=True) if len(edits) > 1 else edits:
        at, path = copies[()], edit.path
        for length, step in enumerate(path[:-1], 1):
            inner = copies.get(path[:length])
            if inner is None:
                inner = at[step] = copies[path[:length]] = at[step].copy()
            at = inner
        at[path[-1]] = edit.value
    return copies[()]


def json_lines(body: bytes) -> list[Json]:
    """The objects of an answer that is JSON line by line; empty where a line is none."""
    documents = [parse_lenient(line) for line in body.splitlines() if line.strip()]
    return documents if all(isinstance(document, dict) for document in documents) else []


def _depth(edit: SetMember) -> int:
    return len(edit.path)
