"""OpenAI chat completions, with vLLM's `reasoning_content` and `continuous_usage_stats`."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

import msgspec

from . import prompt, words
from .turn import Answer, Ask, Event, Function, Turn, Usage, sse
from .words import Piece

PATH = "/v1/chat/completions"


class _Named(msgspec.Struct):
    name: str = ""
    arguments: str = ""
    description: str = ""
    parameters: dict[str, Any] = {}


class _Tool(msgspec.Struct):
    type: str = "function"
    function: _Named = msgspec.field(default_factory=_Named)


class _Message(msgspec.Struct):
    role: str
    content: prompt.Content = None
    name: str | None = None
    tool_calls: list[_Tool] | None = None

    def tokens(self) -> int:
        functions = [tool.function for tool in self.tool_calls or ()]
        return prompt.message(self.role, self.content, self.name, [text for f in functions for text in (f.name, f.arguments)])


class StreamOptions(msgspec.Struct):
    """What else a stream brings; the second member is vLLM's."""

    include_usage: bool = False
    continuous_usage_stats: bool = False

    def usage(self) -> Usage:
        """Without `include_usage` the other member means nothing, as in vLLM."""
        if not self.include_usage:
            return Usage.NEVER
        return Usage.EVERY if self.continuous_usage_stats else Usage.LAST


class _Request(msgspec.Struct):
    model: str
    messages: list[_Message]
    stream: bool = False
    stream_options: StreamOptions | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    n: int | None = None
    tools: list[_Tool] | None = None
    tool_choice: str | _Tool | None = None


def read(body: bytes) -> Ask:
    """The request of a chat completion."""
    request = msgspec.json.decode(body, type=_Request)
    offered = [(t.function.name, t.function.description, t.function.parameters) for t in request.tools or ()]
    tokens = sum(message.tokens() for message in request.messages) + prompt.PRIMER + prompt.functions(offered)
    users = [message for message in request.messages if message.role == "user"]
    return Ask(
        model=request.model,
        prompt_tokens=tokens,
        said=prompt.say(users[-1].content) if users else "",
        cap=request.max_completion_tokens if request.max_completion_tokens is not None else request.max_tokens,
        choices=request.n or 1,
        stream=request.stream,
        usage=(request.stream_options or StreamOptions()).usage(),
        thinks=True,
        function=_function(request),
    )


def _function(request: _Request) -> Function | None:
    tools = {tool.function.name: tool.function for tool in request.tools or ()}
    answered = bool(request.messages) and request.messages[-1].role == "tool"
    if not tools or request.tool_choice == "none" or answered:
        return None
    wanted = request.tool_choice.function.name if isinstance(request.tool_choice, _Tool) else next(iter(tools))
    return Function(wanted, tools[wanted].parameters) if wanted in tools else None


def usage(turn: Turn, written: int) -> dict[str, object]:
    """The `usage` object when `written` tokens of the answer are there."""
    return {
        "prompt_tokens": turn.ask.prompt_tokens,
        "completion_tokens": written,
        "total_tokens": turn.ask.prompt_tokens + written,
        "prompt_tokens_details": {"cached_tokens": turn.cached_tokens, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": min(turn.reasoning_tokens, written), "audio_tokens": 0},
    }


def finish_reason(answer: Answer) -> str:
    """Why the answer ended."""
    if not answer.complete:
        return "length"
    return "tool_calls" if answer.function else "stop"


def whole(turn: Turn) -> dict[str, object]:
    """The JSON of the whole answer."""
    choices = [_choice(index, answer, turn) for index, answer in enumerate(turn.answers)]
    told = {"usage": usage(turn, turn.tokens)} if turn.script.usage else {}
    return _head(turn, "chat.completion") | {"choices": choices} | told


def _head(turn: Turn, kind: str) -> dict[str, object]:
    return {
        "id": f"chatcmpl-{turn.ident}",
        "object": kind,
        "created": turn.created,
        "model": turn.ask.model,
        "system_fingerprint": "fp_simulated",
    }


def _choice(index: int, answer: Answer, turn: Turn) -> dict[str, object]:
    text = words.join(answer.content)
    message: dict[str, object] = {"role": "assistant", "content": None if answer.function else text, "refusal": None}
    if answer.function:
        message["tool_calls"] = [{"id": _call(turn, index), "type": "function"} | _call_function(answer.function, text)]
    if answer.reasoning:
        message["reasoning_content"] = words.join(answer.reasoning)
    return {"index": index, "message": message, "logprobs": None, "finish_reason": finish_reason(answer)}


def _call(turn: Turn, index: int) -> str:
    return f"call_{turn.ident}_{index}"


def _call_function(name: str, arguments: str) -> dict[str, object]:
    return {"function": {"name": name, "arguments": arguments}}


@dataclass(slots=True)
class _Stream:
    turn: Turn
    written: int = 0

    def chunk(self, index: int, delta: dict[str, object], tokens: int = 0, finish: str | None = None) -> Event:
        self.written += tokens
        choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish}
        return Event(sse(_head(self.turn, "chat.completion.chunk") | {"choices": [choice]} | self._running()), tokens)

    def last(self) -> Event:
        """The chunk without choices that tells the usage."""
        told = {"choices": [], "usage": usage(self.turn, self.written)}
        return Event(sse(_head(self.turn, "chat.completion.chunk") | told))

    def _running(self) -> dict[str, object]:
        if not self.turn.script.usage or self.turn.ask.usage is Usage.NEVER:
            return {}
        return {"usage": usage(self.turn, self.written) if self.turn.ask.usage is Usage.EVERY else None}


def events(turn: Turn) -> Iterator[Event]:
    """The answer as chunks, one per token and choice, the choices taking turns."""
    stream = _Stream(turn)
    deltas = [list(_deltas(turn, index, answer)) for index, answer in enumerate(turn.answers)]
    for round_ in zip_longest(*deltas):
        for index, step in enumerate(round_):
            if step is not None:
                yield stream.chunk(index, *step)
    for index, answer in enumerate(turn.answers):
        yield stream.chunk(index, {}, finish=finish_reason(answer))
    if turn.script.usage and turn.ask.usage is not Usage.NEVER:
        yield stream.last()
    yield Event(b"data: [DONE]\n\n")


def _deltas(turn: Turn, index: int, answer: Answer) -> Iterator[tuple[dict[str, object], int]]:
    yield {"role": "assistant", "content": None if answer.function else ""}, 0
    for piece in answer.reasoning:
        yield {"reasoning_content": piece.text}, piece.tokens
    if answer.function:
        head = {"index": 0, "id": _call(turn, index), "type": "function"} | _call_function(answer.function, "")
        yield {"tool_calls": [head]}, words.count(answer.function)
    for piece in answer.content:
        yield _delta(piece, answer), piece.tokens


def _delta(piece: Piece, answer: Answer) -> dict[str, object]:
    if answer.function:
        return {"tool_calls": [{"index": 0, "function": {"arguments": piece.text}}]}
    return {"content": piece.text}


_ERRORS = {401: "authentication_error", 403: "permission_error", 404: "not_found_error", 429: "rate_limit_error"}


def error(status: int, message: str) -> dict[str, object]:
    """The JSON of an error, as every OpenAI endpoint writes it."""
    kind = _ERRORS.get(status, "server_error" if status >= 500 else "invalid_request_error")
    return {"error": {"message": message, "type": kind, "param": None, "code": None}}
