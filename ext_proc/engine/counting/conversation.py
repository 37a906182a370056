"""What templates render of a chat's body: texts by role, calls of tools, and what no template's rule is known for."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from headrace.ext_proc.core.lenses.call import Texts

_TEXT_PARTS: Final = (None, "text", "input_text", "output_text")
_READ: Final = frozenset({"role", "content", "name", "tool_calls", "tool_call_id", "prefix", "refusal", "annotations"})
"""Members of a message that a template's own rules read, or that no template renders."""


class Call(NamedTuple):
    """Of a tool. arguments: JSON as a text, as the API has them."""

    id: str
    name: str
    arguments: str


class Turn(NamedTuple):
    """A message. text: its content's texts, joined."""

    role: str
    text: str
    calls: Sequence[Call] = ()
    answers: str = ""
    """The id of the call whose result this is."""
    open: bool = False
    """The answer goes on where this message ends: Mistral's `prefix`."""


def turns(chat: Mapping[str, Any], join: str, texts: Texts) -> Iterator[Turn]:
    """Of a body that the lens has read. Images, other parts, and members nobody has rules for go to `texts` as estimates."""
    for message in chat["messages"]:
        for name, value in message.items():
            if name not in _READ and value:
                texts.estimate(json.dumps(value))
        text = join.join(texts_of(message.get("content"), texts))
        calls = tuple(_calls(message.get("tool_calls"), texts))
        yield Turn(_word(message.get("role")), text, calls, _word(message.get("tool_call_id")), message.get("prefix") is True)


def texts_of(content: Any, texts: Texts) -> Iterator[str]:
    """Of a message's content; parts that are no text go to `texts`, as estimates."""
    for part in content if isinstance(content, list) else (content,):
        text = part.get("text") if isinstance(part, dict) and part.get("type") in _TEXT_PARTS else part
        if isinstance(text, str):
            if text:
                yield text
        elif part is not None:
            texts.part(part)


def _calls(listed: Any, texts: Texts) -> Iterator[Call]:
    for call in listed if isinstance(listed, list) else (listed,) if listed else ():
        function = call.get("function") if isinstance(call, dict) else None
        if not isinstance(function, dict):
            texts.estimate(json.dumps(call))
            continue
        yield Call(_word(call.get("id")), _word(function.get("name")), _word(function.get("arguments")))


def _word(value: Any) -> str:
    return value if isinstance(value, str) else "" if value is None else json.dumps(value)


def tools_of(chat: Mapping[str, Any]) -> Sequence[Any]:
    """What the model may call; empty where it is told of none."""
    listed = chat.get("tools")
    return listed if isinstance(listed, list) else []


def estimate_tools(chat: Mapping[str, Any], texts: Texts) -> None:
    """By their JSON, which is what templates render in words of their own."""
    for name in ("tools", "functions"):
        if chat.get(name):
            texts.estimate(json.dumps(chat[name]))
