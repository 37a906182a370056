"""Strings of an answer: what is done to each, whole or in pieces, and how a document is changed without touching the given one."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from headrace.ext_proc.core.verdict import Json, Path, SetMember
from headrace.filters.pii.restore import TextFlow
from headrace.filters.pii.strings import is_opaque, is_word

NewFlow = Callable[[bool], TextFlow]
"""A new flow for one text; True for text that is JSON."""

# Members of answers that are words of the protocol; skipped while they look like one.
_WORDS = frozenset(
    {
        "id", "object", "model", "type", "role", "finish_reason", "stop_reason", "status", "system_fingerprint",
        "service_tier", "call_id", "item_id", "event_id", "name",
        "previous_response_id", "response_id", "tool_use_id", "tool_call_id",
    }
)  # fmt: skip
_OPAQUE = frozenset({"signature", "encrypted_content", "data", "b64_json", "obfuscation", "embedding"})
_JSON_MEMBERS = frozenset({"arguments", "partial_json"})
LOGPROBS = "logprobs"


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

    @property
    def pending(self) -> bool:
        return False


Told = tuple[Path, str, bool]
"""A string of an answer that is text: its path, itself, whether it is JSON."""


def texts(document: Json, path: Path = (), name: str = "") -> Iterator[Told]:
    """All there are. Log probabilities are left out."""
    if isinstance(document, str):
        if not _is_protocol(name, document):
            yield path, document, name in _JSON_MEMBERS
    elif isinstance(document, dict):
        for key, value in document.items():
            if key != LOGPROBS:
                yield from texts(value, (*path, key), key)
    elif isinstance(document, list):
        for index, item in enumerate(document):
            yield from texts(item, (*path, index), name)


def _is_protocol(name: str, text: str) -> bool:
    return (name in _WORDS and is_word(text)) or (name in _OPAQUE and is_opaque(text))


def changes(found: Iterable[Told], new_flow: NewFlow, skip: Iterable[Path] = ()) -> list[SetMember]:
    """The strings that a flow changes, of those that were found in a document, except those at `skip`."""
    left = frozenset(skip)
    changed: list[SetMember] = []
    for path, text, json in found:
        if path not in left and (new := new_flow(json).whole(text)) != text:
            changed.append(SetMember(path, new))
    return changed


def logprobs_of(document: Json, path: Path = ()) -> Iterator[SetMember]:
    """Takes log probabilities away: they spell the model's words token by token."""
    if isinstance(document, dict):
        for key, value in document.items():
            if key == LOGPROBS and value:
                yield SetMember((*path, key), None if isinstance(value, dict) else [])
            else:
                yield from logprobs_of(value, (*path, key))
    elif isinstance(document, list):
        for index, item in enumerate(document):
            yield from logprobs_of(item, (*path, index))


def with_members(document: Json, edits: Sequence[SetMember]) -> Json:
    """A copy of `document` with members set. What is not on the way to one of them is shared."""
    if not edits:
        return document
    here = {edit.path[0]: edit.value for edit in edits if len(edit.path) == 1}
    below: dict[Any, list[SetMember]] = {}
    for edit in edits:
        if len(edit.path) > 1:
            below.setdefault(edit.path[0], []).append(SetMember(edit.path[1:], edit.value))
    copy = document.copy()
    for step, inner in below.items():
        copy[step] = with_members(copy[step], inner)
    for step, value in here.items():
        copy[step] = value
    return copy
