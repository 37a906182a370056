"""Prompts counted the way OpenAI's cookbook counts them ("How to count tokens with tiktoken"), for the o200k_base models."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from .words import count

PER_MESSAGE = 3
PER_NAME = 1
PRIMER = 3  # every answer is primed with <|start|>assistant<|message|>
PER_IMAGE = 85  # a low-detail image
# Functions: tokens around each function, its property list, each property, and around an enum and its items.
FUNCTION, PROPERTIES, PROPERTY, ENUM, ENUM_ITEM, FUNCTIONS_END = 7, 3, 3, -3, 3, 12


class Part(msgspec.Struct):
    """A part of a message's content, of any dialect: text, an image, a call, a result."""

    type: str = "text"
    text: str = ""
    refusal: str = ""
    name: str = ""
    input: Any = None  # a call's arguments (Anthropic)
    content: "str | list[Part] | None" = None  # a call's result (Anthropic)


Content = str | list[Part] | None


def texts(content: Content) -> Iterable[str]:
    """Every text of a message's content, in order."""
    if isinstance(content, str):
        yield content
    for part in content if isinstance(content, list) else ():
        yield part.text or part.refusal or part.name
        if part.input is not None:
            yield msgspec.json.encode(part.input).decode()
        yield from texts(part.content)


def say(content: Content) -> str:
    """The plain text of a message's content."""
    return content if isinstance(content, str) else "\n".join(part.text for part in content or () if part.text)


def message(role: str, content: Content, name: str | None = None, calls: Iterable[str] = ()) -> int:
    """Tokens of one chat message; `calls` are names and arguments of the calls it makes."""
    images = sum(PER_IMAGE for part in content or () if isinstance(part, Part) and "image" in part.type)
    named = PER_NAME + count(name) if name else 0
    return PER_MESSAGE + count(role) + sum(map(count, texts(content))) + sum(map(count, calls)) + images + named


def functions(declared: Sequence[tuple[str, str, Mapping[str, Any]]]) -> int:
    """Tokens of the functions offered: (name, description, JSON Schema of the arguments) each."""
    return sum(_function(*function) for function in declared) + FUNCTIONS_END if declared else 0


def _function(name: str, description: str, parameters: Mapping[str, Any]) -> int:
    properties: Mapping[str, Mapping[str, Any]] = parameters.get("properties", {})
    inner = PROPERTIES + sum(_property(key, schema) for key, schema in properties.items()) if properties else 0
    return FUNCTION + count(f"{name}:{description.rstrip('.')}") + inner


def _property(key: str, schema: Mapping[str, Any]) -> int:
    items = schema.get("enum", ())
    choices = ENUM + sum(ENUM_ITEM + count(str(item)) for item in items) if items else 0
    line = f"{key}:{schema.get('type', '')}:{str(schema.get('description', '')).rstrip('.')}"
    return PROPERTY + count(line) + choices
