"""Anthropic messages, with extended thinking for the script's `reasoning`."""

from collections.abc import Iterator
from typing import Any

import msgspec

from . import prompt, words
from .turn import Answer, Ask, Event, Function, Turn, Usage, sse

PATH = "/v1/messages"


class _Tool(msgspec.Struct):
    name: str
    description: str = ""
    input_schema: dict[str, Any] = {}


class _Choice(msgspec.Struct):
    type: str = "auto"
    name: str = ""


class _Message(msgspec.Struct):
    role: str
    content: prompt.Content


class _Request(msgspec.Struct):
    model: str
    messages: list[_Message]
    max_tokens: int
    system: prompt.Content = None
    stream: bool = False
    tools: list[_Tool] | None = None
    tool_choice: _Choice | None = None


def read(body: bytes) -> Ask:
    """The request of a message. The system prompt counts as one message."""
    request = msgspec.json.decode(body, type=_Request)
    system = prompt.message("system", request.system) if request.system else 0
    messages = sum(prompt.message(message.role, message.content) for message in request.messages)
    offered = [(tool.name, tool.description, tool.input_schema) for tool in request.tools or ()]
    users = [message for message in request.messages if message.role == "user"]
    return Ask(
        model=request.model,
        prompt_tokens=system + messages + prompt.PRIMER + prompt.functions(offered),
        said=prompt.say(users[-1].content) if users else "",
        cap=request.max_tokens,
        stream=request.stream,
        usage=Usage.LAST,
        thinks=True,
        function=_function(request),
    )


def _function(request: _Request) -> Function | None:
    tools = {tool.name: tool for tool in request.tools or ()}
    choice = request.tool_choice or _Choice()
    if not tools or choice.type == "none" or _answered(request.messages):
        return None
    wanted = tools.get(choice.name or next(iter(tools)))
    return Function(wanted.name, wanted.input_schema) if wanted else None


def _answered(messages: list[_Message]) -> bool:
    content = messages[-1].content if messages else None
    return isinstance(content, list) and any(part.type == "tool_result" for part in content)


def stop_reason(answer: Answer) -> str:
    """Why the answer ended."""
    if not answer.complete:
        return "max_tokens"
    return "tool_use" if answer.function else "end_turn"


def whole(turn: Turn) -> dict[str, object]:
    """The JSON of the whole answer."""
    answer = turn.answers[0]
    end = {"content": list(_blocks(turn, answer)), "stop_reason": stop_reason(answer), "stop_sequence": None}
    return _message(turn) | end | ({"usage": _usage(turn, turn.tokens)} if turn.script.usage else {})


def _message(turn: Turn) -> dict[str, object]:
    return {"id": f"msg_{turn.ident}", "type": "message", "role": "assistant", "model": turn.ask.model}


def _usage(turn: Turn, written: int) -> dict[str, object]:
    """As Anthropic counts: `input_tokens` without those read from the cache."""
    return {
        "input_tokens": turn.ask.prompt_tokens - turn.cached_tokens,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": turn.cached_tokens,
        "output_tokens": written,
    }


def _blocks(turn: Turn, answer: Answer) -> Iterator[dict[str, object]]:
    if answer.reasoning:
        yield {"type": "thinking", "thinking": words.join(answer.reasoning), "signature": "c2ltdWxhdGVk"}
    text = words.join(answer.content)
    if answer.function is None:
        yield {"type": "text", "text": text}
    else:
        # Arguments that the cap cut off are no JSON; the API gives an empty object then.
        yield _tool_use(turn, answer.function) | {"input": msgspec.json.decode(text) if answer.complete else {}}


def _tool_use(turn: Turn, name: str) -> dict[str, object]:
    return {"type": "tool_use", "id": f"toolu_{turn.ident}", "name": name, "input": {}}


def _event(name: str, data: dict[str, object], tokens: int = 0) -> Event:
    return Event(sse({"type": name} | data, name), tokens)


def events(turn: Turn) -> Iterator[Event]:
    """The answer as Anthropic's events, one delta per token."""
    answer = turn.answers[0]
    start = _message(turn) | {"content": [], "stop_reason": None, "stop_sequence": None, "usage": _usage(turn, 0)}
    yield _event("message_start", {"message": start})
    yield _event("ping", {})
    if answer.reasoning:
        yield from _thinking(answer)
    yield from _content(turn, answer, index=1 if answer.reasoning else 0)
    end: dict[str, object] = {"delta": {"stop_reason": stop_reason(answer), "stop_sequence": None}}
    yield _event("message_delta", end | ({"usage": {"output_tokens": turn.tokens}} if turn.script.usage else {}))
    yield _event("message_stop", {})


def _thinking(answer: Answer) -> Iterator[Event]:
    yield _event("content_block_start", {"index": 0, "content_block": {"type": "thinking", "thinking": "", "signature": ""}})
    for piece in answer.reasoning:
        yield _delta(0, {"type": "thinking_delta", "thinking": piece.text}, piece.tokens)
    yield _delta(0, {"type": "signature_delta", "signature": "c2ltdWxhdGVk"})
    yield _event("content_block_stop", {"index": 0})


def _content(turn: Turn, answer: Answer, index: int) -> Iterator[Event]:
    tool = answer.function
    block = _tool_use(turn, tool) if tool else {"type": "text", "text": ""}
    yield _event("content_block_start", {"index": index, "content_block": block}, words.count(tool) if tool else 0)
    kind, member = ("input_json_delta", "partial_json") if tool else ("text_delta", "text")
    for piece in answer.content:
        yield _delta(index, {"type": kind, member: piece.text}, piece.tokens)
    yield _event("content_block_stop", {"index": index})


def _delta(index: int, delta: dict[str, object], tokens: int = 0) -> Event:
    return _event("content_block_delta", {"index": index, "delta": delta}, tokens)


_ERRORS = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    529: "overloaded_error",
}


def error(status: int, message: str) -> dict[str, object]:
    """The JSON of an error."""
    kind = _ERRORS.get(status, "api_error" if status >= 500 else "invalid_request_error")
    return {"type": "error", "error": {"type": kind, "message": message}, "request_id": None}
