"""Where the text stands in the events of a stream, in each dialect: channels that grow by deltas, and what ends them.

A channel is one text that comes in pieces: the content of one choice, the arguments of one of its tool calls. Every other string
of an event is whole.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from headrace.ext_proc.core.endpoint import Endpoint
from headrace.ext_proc.core.verdict import Json, Path
from headrace.filters.pii.answers import SEALED, WRITTEN, Document
from headrace.filters.pii.strings import is_signed

Key = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Slot:
    """A piece of a channel's text at `path` of an event's document. json and sealed: as answers.Piece, of the channel."""

    path: Path
    key: Key
    text: str
    json: bool = False
    sealed: bool = False


@dataclass(frozen=True, slots=True)
class Reading:
    """What one event says. ends: the channels whose keys begin so end with this event, its own pieces included."""

    slots: Sequence[Slot] = ()
    ends: Sequence[Key] = ()


@dataclass(frozen=True, slots=True)
class Shape:
    """A dialect. read: the reading of an event. delta: an event's document that adds `text` to the channel of `slot`, made from the
    last document that had a piece of it. defines: whether an event is one of the dialect's, or one that we know to be whole.
    annotations: those that an event has of channels' texts, by the channel's key, with their places."""

    read: Callable[[Document], Reading]
    delta: Callable[[Document, Slot, str], Document]
    defines: Callable[[Document], bool]
    annotations: Callable[[Document], Iterator[tuple[Key, Path, Document]]]


def _objects(value: Json) -> Iterator[tuple[int, Document]]:
    """The objects of a list with their positions."""
    if isinstance(value, list):
        yield from ((position, item) for position, item in enumerate(value) if isinstance(item, dict))


def _number(members: Mapping[str, Any], name: str, default: int) -> int:
    value = members.get(name)
    return value if isinstance(value, int) else default


# --- OpenAI chat completions, and legacy completions --------------------------------------------------------------------------

# Of a delta's members: no text, or text that comes whole, such as titles of citations.
_NO_TEXT = frozenset({"role", "id", "type", "tool_call_id", "name", "index", "logprobs", "data", "format", "signature"})
_WHOLE = frozenset({"annotations", "citations", "images"})
_KEPT = ("index", "type")
_JSON_TEXTS = ("arguments",)


def _read_chat(document: Document) -> Reading:
    slots: list[Slot] = []
    ends: list[Key] = []
    for position, choice in _objects(document.get("choices")):
        index = _number(choice, "index", position)
        for name in ("text", "delta"):
            slots += _texts(choice.get(name), ("choices", position, name), (index, name))
        if _is_reason(choice.get("finish_reason")):
            ends.append((index,))
    return Reading(slots, ends)


def _is_reason(value: Json) -> bool:
    """Whether something ends for this reason; some servers write an empty one into every event."""
    return isinstance(value, str) and value != ""


def _texts(value: Json, path: Path, key: Key) -> Iterator[Slot]:
    """The texts of a delta that stream, whatever its shape: content as a string or in parts, reasoning, arguments of tools.

    A server may add others, so all do that are not known to come whole.
    """
    if isinstance(value, str):
        yield Slot(path, key, value, json=key[-1] in _JSON_TEXTS)
    elif isinstance(value, dict):
        sealed = _may_be_signed(value, key)
        for name, item in value.items():
            if sealed and name in SEALED and isinstance(item, str):
                yield Slot((*path, name), (*key, name), item, sealed=True)
            elif name not in _NO_TEXT and name not in _WHOLE and (name not in WRITTEN or isinstance(item, str)):
                yield from _texts(item, (*path, name), (*key, name))
    elif isinstance(value, list):
        for position, item in enumerate(value):
            number = _number(item, "index", position) if isinstance(item, dict) else position
            yield from _texts(item, (*path, position), (*key, number))


def _may_be_signed(members: Document, key: Key) -> bool:
    """Whether a signature may follow, which comes last. OpenRouter names the provider whose reasoning it passes on."""
    if "reasoning_details" in key:
        name = members.get("format")
        return not isinstance(name, str) or name.startswith("anthropic") or is_signed(members)
    return "thinking_blocks" in key


def _chat_text(document: Document, slot: Slot, text: str) -> Document:
    choice = document["choices"][slot.path[1]]
    shared = {name: value for name, value in document.items() if name not in ("choices", "usage")}
    return shared | {"choices": [_pruned(choice, slot.path[2:], text) | {"index": slot.key[0], "finish_reason": None}]}


def _pruned(value: Json, path: Path, text: str) -> Any:
    """`value` with nothing in it but `text` at `path`, and what says where that belongs."""
    if not path:
        return text
    inner = _pruned(value[path[0]], path[1:], text)
    if isinstance(value, list):
        return [inner]
    return {name: value[name] for name in _KEPT if name in value} | {path[0]: inner}


def _defines_chat(document: Document) -> bool:
    """What has choices, or is an error; providers say other things beside the choices, whole."""
    return isinstance(document.get("choices"), list) or "error" in document


def _chat_annotations(document: Document) -> Iterator[tuple[Key, Path, Document]]:
    for position, choice in _objects(document.get("choices")):
        delta = choice.get("delta")
        for place, annotation in _objects(delta.get("annotations") if isinstance(delta, dict) else None):
            key = (_number(choice, "index", position), "delta", "content")
            yield key, ("choices", position, "delta", "annotations", place), annotation


# --- OpenAI responses ---------------------------------------------------------------------------------------------------------

_MEDIA = ("response.audio", "response.output_audio")
_PARTS = ("content_index", "summary_index", "command_index")
_LAST = frozenset({"response.completed", "response.incomplete", "response.failed", "response.cancelled", "error"})


def _read_responses(document: Document) -> Reading:
    kind = document.get("type")
    if not isinstance(kind, str):
        return Reading(ends=[()] if "error" in document else ())
    item = _number(document, "output_index", -1)
    stem, _, last = kind.rpartition(".")
    if last == "delta" and stem not in _MEDIA:
        return Reading(list(_pieces(document.get("delta"), (item, stem, _part(document)), json=stem.endswith(_JSON_TEXTS))))
    if last == "done":  # of several commands each has its own end
        return Reading(ends=[(item, stem, _part(document)) if "command_index" in document else (item,)])
    return Reading(ends=[()] if kind in _LAST else ())


def _responses_annotations(document: Document) -> Iterator[tuple[Key, Path, Document]]:
    annotation = document.get("annotation")
    if document.get("type") == "response.output_text.annotation.added" and isinstance(annotation, dict):
        yield (_number(document, "output_index", -1), "response.output_text", _part(document)), ("annotation",), annotation


def _part(document: Document) -> int:
    """The number of a part of an item."""
    return next((number for name in _PARTS if (number := _number(document, name, -1)) >= 0), -1)


def _pieces(delta: Json, key: Key, *, json: bool) -> Iterator[Slot]:
    """A delta is a piece of text, or an object that has pieces of several: what a command wrote to its two outputs."""
    if isinstance(delta, str):
        yield Slot(("delta",), key, delta, json)
    elif isinstance(delta, dict):
        yield from (Slot(("delta", name), (*key, name), text) for name, text in delta.items() if isinstance(text, str))


def _responses_text(document: Document, slot: Slot, text: str) -> Document:
    delta = {slot.path[1]: text} if len(slot.path) > 1 else text
    return {name: value for name, value in document.items() if name not in ("obfuscation", "logprobs")} | {"delta": delta}


# What the Responses API's events are named after (https://platform.openai.com/docs/api-reference/responses-streaming), as the
# reference, OpenAI's SDK and vLLM spell it.
_STEMS = frozenset(
    {
        "output_item", "content_part", "output_text", "refusal", "reasoning", "reasoning_text", "reasoning_part",
        "reasoning_summary", "reasoning_summary_text", "reasoning_summary_part", "function_call_arguments",
        "custom_tool_call_input", "mcp_call", "mcp_call_arguments", "mcp_call.arguments", "mcp_list_tools", "file_search_call",
        "web_search_call", "image_generation_call", "code_interpreter_call", "code_interpreter_call_code",
        "code_interpreter_call.code", "shell_call", "shell_call_command", "shell_call_output_content", "local_shell_call",
        "apply_patch_call", "apply_patch_call_operation_diff", "computer_call", "compaction", "steer", "audio",
        "audio_transcript", "audio.transcript", "output_audio", "output_audio_transcript",
    }
)  # fmt: skip
_STATES = ("created", "queued", "in_progress", "completed", "incomplete", "failed", "cancelled", "steer")


def _defines_responses(document: Document) -> bool:
    kind = document.get("type")
    if kind == "error" or (kind is None and "error" in document):
        return True
    name = kind.removeprefix("response.") if isinstance(kind, str) else ""
    return name != kind and (name in _STATES or name.startswith("output_text.annotation") or name.rpartition(".")[0] in _STEMS)


# --- Anthropic messages -------------------------------------------------------------------------------------------------------

_NO_BLOCK_TEXT = ("type", "signature", "encrypted_content")


def _read_messages(document: Document) -> Reading:
    kind = document.get("type")
    block = _number(document, "index", -1)
    if kind == "content_block_delta":
        delta = document.get("delta")
        given = delta if isinstance(delta, dict) else {}
        texts = [(name, text) for name, text in given.items() if isinstance(text, str) and name not in _NO_BLOCK_TEXT]
        return Reading([_block_slot(block, name, text) for name, text in texts])
    if kind == "content_block_stop":
        return Reading(ends=[(block,)])
    return Reading(ends=[()] if kind in ("message_stop", "error") or _stops(document) else ())


def _block_slot(block: int, name: str, text: str) -> Slot:
    return Slot(("delta", name), (block, name), text, json=name == "partial_json", sealed=name == "thinking")


def _stops(document: Document) -> bool:
    """Whether no block goes on behind this `message_delta`."""
    delta = document.get("delta")
    return document.get("type") == "message_delta" and isinstance(delta, dict) and _is_reason(delta.get("stop_reason"))


def _messages_text(document: Document, slot: Slot, text: str) -> Document:
    name = slot.key[1]
    kind = document["delta"].get("type") if isinstance(document.get("delta"), dict) else f"{name}_delta"
    return document | {"delta": {"type": kind, str(name): text}}


_MESSAGE_EVENTS = (
    "message_start", "message_delta", "message_stop", "content_block_start", "content_block_delta", "content_block_stop", "ping",
    "error",
)  # fmt: skip


def _defines_messages(document: Document) -> bool:
    kind = document.get("type")
    return kind in _MESSAGE_EVENTS


def _no_annotations(_: Document) -> Iterator[tuple[Key, Path, Document]]:
    """Citations of Anthropic's point into documents of the request."""
    return iter(())


_CHAT = Shape(_read_chat, _chat_text, _defines_chat, _chat_annotations)
SHAPES: Mapping[Endpoint, Shape] = {
    Endpoint.CHAT: _CHAT,
    Endpoint.COMPLETIONS: _CHAT,
    Endpoint.RESPONSES: Shape(_read_responses, _responses_text, _defines_responses, _responses_annotations),
    Endpoint.MESSAGES: Shape(_read_messages, _messages_text, _defines_messages, _no_annotations),
    Endpoint.EMBEDDINGS: _CHAT,
    Endpoint.MESSAGES_COUNT: _CHAT,
    Endpoint.RESPONSES_COUNT: _CHAT,
}
"""Embeddings and counts are never streamed; whatever streams in their place is read as the most common shape."""
