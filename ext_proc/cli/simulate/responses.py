"""OpenAI responses: text and function calls, JSON and its events. Reasoning is not simulated here."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec

from . import prompt, words
from .chat import error
from .turn import Answer, Ask, Event, Function, Turn, Usage, sse

__all__ = ["PATH", "error", "events", "read", "whole"]

PATH = "/v1/responses"


class _Item(msgspec.Struct):
    type: str = "message"
    role: str = ""
    content: prompt.Content = None
    name: str = ""
    arguments: str = ""
    output: prompt.Content = None

    def tokens(self) -> int:
        return prompt.message(self.role, self.content or self.output, calls=(self.name, self.arguments))


class _Tool(msgspec.Struct):
    type: str
    name: str = ""
    description: str | None = None
    parameters: dict[str, Any] | None = None


class _Request(msgspec.Struct):
    model: str
    input: str | list[_Item]
    instructions: str | None = None
    stream: bool = False
    max_output_tokens: int | None = None
    tools: list[_Tool] | None = None
    tool_choice: str | _Tool | None = None

    def items(self) -> list[_Item]:
        """A plain text is one message of the user."""
        return [_Item(role="user", content=self.input)] if isinstance(self.input, str) else self.input


def read(body: bytes) -> Ask:
    """The request of a response. The instructions count as one system message."""
    request = msgspec.json.decode(body, type=_Request)
    items = request.items()
    system = prompt.message("system", request.instructions) if request.instructions else 0
    offered = [(tool.name, tool.description or "", tool.parameters or {}) for tool in request.tools or () if tool.name]
    users = [item for item in items if item.role == "user"]
    return Ask(
        model=request.model,
        prompt_tokens=system + sum(item.tokens() for item in items) + prompt.PRIMER + prompt.functions(offered),
        said=prompt.say(users[-1].content) if users else "",
        cap=request.max_output_tokens,
        stream=request.stream,
        usage=Usage.LAST,
        function=_function(request, items),
    )


def _function(request: _Request, items: list[_Item]) -> Function | None:
    tools = {tool.name: tool for tool in request.tools or () if tool.type == "function"}
    answered = bool(items) and items[-1].type == "function_call_output"
    if not tools or request.tool_choice == "none" or answered:
        return None
    wanted = tools.get(request.tool_choice.name if isinstance(request.tool_choice, _Tool) else next(iter(tools)))
    return Function(wanted.name, wanted.parameters or {}) if wanted else None


def whole(turn: Turn) -> dict[str, object]:
    """The JSON of the whole answer."""
    answer = turn.answers[0]
    return _response(turn, "completed" if answer.complete else "incomplete", [_item(turn, answer)])


def _response(turn: Turn, status: str, output: list[dict[str, object]]) -> dict[str, object]:
    over = status != "in_progress"
    return {
        "id": f"resp_{turn.ident}",
        "object": "response",
        "created_at": turn.created,
        "status": status,
        "error": None,
        "incomplete_details": {"reason": "max_output_tokens"} if status == "incomplete" else None,
        "model": turn.ask.model,
        "output": output,
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "usage": _usage(turn) if over and turn.script.usage else None,
    }


def _usage(turn: Turn) -> dict[str, object]:
    return {
        "input_tokens": turn.ask.prompt_tokens,
        "input_tokens_details": {"cached_tokens": turn.cached_tokens, "cache_write_tokens": 0},
        "output_tokens": turn.tokens,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": turn.ask.prompt_tokens + turn.tokens,
    }


def _part(text: str) -> dict[str, object]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _item(turn: Turn, answer: Answer) -> dict[str, object]:
    text, status = words.join(answer.content), "completed" if answer.complete else "incomplete"
    return _opened(turn, answer) | {"status": status} | ({"arguments": text} if answer.function else {"content": [_part(text)]})


def _opened(turn: Turn, answer: Answer) -> dict[str, object]:
    head: dict[str, object] = {"id": _item_id(turn, answer), "status": "in_progress"}
    if answer.function:
        return head | {"type": "function_call", "call_id": f"call_{turn.ident}", "name": answer.function, "arguments": ""}
    return head | {"type": "message", "role": "assistant", "content": []}


def _item_id(turn: Turn, answer: Answer) -> str:
    return f"{'fc' if answer.function else 'msg'}_{turn.ident}"


@dataclass(slots=True)
class _Stream:
    turn: Turn
    sequence: int = -1

    def event(self, name: str, data: dict[str, object], tokens: int = 0) -> Event:
        self.sequence += 1
        return Event(sse({"type": name, "sequence_number": self.sequence} | data, name), tokens)

    def response(self, name: str, status: str, *output: dict[str, object]) -> Event:
        return self.event(f"response.{name}", {"response": _response(self.turn, status, list(output))})


def events(turn: Turn) -> Iterator[Event]:
    """The answer as typed events, one delta per token."""
    stream, answer = _Stream(turn), turn.answers[0]
    yield stream.response("created", "in_progress")
    yield stream.response("in_progress", "in_progress")
    named = words.count(answer.function) if answer.function else 0
    yield stream.event("response.output_item.added", {"output_index": 0, "item": _opened(turn, answer)}, named)
    yield from _arguments(stream, answer) if answer.function else _text(stream, answer)
    item = _item(turn, answer)
    yield stream.event("response.output_item.done", {"output_index": 0, "item": item})
    status = "completed" if answer.complete else "incomplete"
    yield stream.response(status, status, item)


def _arguments(stream: _Stream, answer: Answer) -> Iterator[Event]:
    at: dict[str, object] = {"item_id": _item_id(stream.turn, answer), "output_index": 0}
    for piece in answer.content:
        yield stream.event("response.function_call_arguments.delta", at | {"delta": piece.text}, piece.tokens)
    done = {"arguments": words.join(answer.content), "name": answer.function}
    yield stream.event("response.function_call_arguments.done", at | done)


def _text(stream: _Stream, answer: Answer) -> Iterator[Event]:
    at: dict[str, object] = {"item_id": _item_id(stream.turn, answer), "output_index": 0, "content_index": 0}
    yield stream.event("response.content_part.added", at | {"part": _part("")})
    for piece in answer.content:
        yield stream.event("response.output_text.delta", at | {"delta": piece.text, "logprobs": []}, piece.tokens)
    text = words.join(answer.content)
    yield stream.event("response.output_text.done", at | {"text": text, "logprobs": []})
    yield stream.event("response.content_part.done", at | {"part": _part(text)})
