"""One request and its answer, independent of the dialect they are written in."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, NamedTuple, Protocol

import msgspec

from . import words
from .script import Script
from .words import Piece


class Usage(Enum):
    """Where a streamed answer tells its usage."""

    NEVER = "never"
    LAST = "in a last chunk of its own"
    EVERY = "in every chunk, running"  # vLLM's continuous_usage_stats


class Function(NamedTuple):
    """A function the model may call, with the JSON Schema of its arguments."""

    name: str
    parameters: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Ask:
    """What a dialect read from a request body."""

    model: str
    prompt_tokens: int
    said: str  # the last thing the user wrote
    cap: int | None = None  # tokens of one answer
    choices: int = 1
    stream: bool = False
    usage: Usage = Usage.LAST
    thinks: bool = False  # the endpoint has a place for reasoning
    function: Function | None = None  # to be called instead of answering
    prepared: object = None  # what `read` worked out and `whole` writes; embeddings only


@dataclass(frozen=True, slots=True)
class Answer:
    """One choice. With `function` set, `content` is the JSON of its arguments."""

    content: tuple[Piece, ...]
    complete: bool  # False: the cap cut it off
    reasoning: tuple[Piece, ...] = ()
    function: str | None = None

    @property
    def tokens(self) -> int:
        """Everything generated: reasoning, the function's name, content."""
        return words.total(self.reasoning) + words.count(self.function or "") + words.total(self.content)


@dataclass(frozen=True, slots=True)
class Turn:
    """A request with its answers, as the dialects write them."""

    ident: str
    created: int  # seconds since the epoch
    ask: Ask
    script: Script
    answers: tuple[Answer, ...] = field(default=())

    @property
    def tokens(self) -> int:
        """Tokens of all answers."""
        return sum(answer.tokens for answer in self.answers)

    @property
    def reasoning_tokens(self) -> int:
        """Tokens of reasoning in all answers."""
        return sum(words.total(answer.reasoning) for answer in self.answers)

    @property
    def cached_tokens(self) -> int:
        """Prompt tokens said to have been read from a cache."""
        return min(self.script.cached, self.ask.prompt_tokens)


class Event(NamedTuple):
    """One write to a streaming client, and the tokens it brings."""

    data: bytes
    tokens: int = 0


class Dialect(Protocol):
    """One endpoint's way to write: requests in, answers out. All methods are pure."""

    def read(self, body: bytes) -> Ask:
        """Raises msgspec.MsgspecError (a ValueError) for a body the endpoint does not understand."""

    def whole(self, turn: Turn) -> object:
        """The JSON of the whole answer."""

    def events(self, turn: Turn) -> Iterator[Event]:
        """The answer as server-sent events."""

    def error(self, status: int, message: str) -> object:
        """The JSON of an error."""


def sse(data: object, name: str | None = None) -> bytes:
    """One server-sent event with JSON data."""
    head = f"event: {name}\n" if name else ""
    return head.encode() + b"data: " + msgspec.json.encode(data) + b"\n\n"


def answer(ask: Ask, script: Script) -> tuple[Answer, ...]:
    """What the model says to `ask`, one Answer per choice."""
    return tuple(_choice(ask, script, index) for index in range(ask.choices))


def _choice(ask: Ask, script: Script, index: int) -> Answer:
    thought = words.babble(script.reasoning if ask.thinks else 0, start=index + 5)
    reasoning = words.cut(thought, ask.cap)
    left = None if ask.cap is None else ask.cap - len(reasoning)
    wanted = _arguments(ask.function, ask.said, script) if ask.function else _content(ask.said, script, index)
    content = words.cut(wanted, left)
    complete = content == wanted and reasoning == thought
    return Answer(content, complete, reasoning, ask.function.name if ask.function else None)


def _content(said: str, script: Script, index: int) -> tuple[Piece, ...]:
    return words.spell(said) if script.echo else words.babble(script.tokens, start=index)


def _arguments(function: Function, said: str, script: Script) -> tuple[Piece, ...]:
    text = said if script.echo else words.join(words.babble(script.tokens))
    properties = function.parameters.get("properties", {})
    values = {name: _value(schema, text) for name, schema in properties.items()}
    return words.spell(msgspec.json.encode(values).decode())


_SAMPLES: Mapping[str, object] = {"integer": 7, "number": 1.5, "boolean": True, "array": (), "object": {}, "null": None}


def _value(schema: Mapping[str, Any], text: str) -> object:
    choices: Sequence[object] = schema.get("enum", ())
    return choices[0] if choices else _SAMPLES.get(schema.get("type", "string"), text)
