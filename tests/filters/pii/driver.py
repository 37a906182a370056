"""Exchanges with the filter in a compiled policy: what the upstream receives, what the caller gets back."""

import asyncio
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from headrace.ext_proc.core.effects import Cause, Effect
from headrace.ext_proc.core.events import Answer as Told
from headrace.ext_proc.core.events import (
    Deliver,
    Event,
    Hold,
    Proceed,
    Refuse,
    RequestBody,
    RequestHeaders,
    ResponseBody,
    ResponseHeaders,
)
from headrace.ext_proc.core.exchange import Exchange
from headrace.ext_proc.core.headers import Headers
from headrace.ext_proc.core.sse import SseEvent, SseParser
from headrace.ext_proc.engine.policy.compile import Policy
from headrace.ext_proc.engine.step import step
from tests.filters.compiled import compiled, exchange_with

CHAT = "/v1/chat/completions"
DEADLINE = 30.0


def policy(directory: Path, settings: str = "", identity: str = "") -> Policy:
    """A policy with this filter alone; `settings` as YAML flow members. Without a model unless they name one."""
    if "model:" not in settings:
        settings = ", ".join(part for part in (settings, "model: none") if part)
    head = "version: 1\nother_paths: pass\nmodels: [{name: m}]\n"
    return compiled(directory, f"{head}filters:\n  - pii: {{{settings}}}\n{identity}")


@dataclass
class Talk:
    """One exchange, step by step. Methods run the loop themselves, so that hypothesis can call them."""

    policy: Policy
    path: str = CHAT
    exchange: Exchange = field(init=False)
    effects: Sequence[Effect] = ()
    headers: Sequence[tuple[str, str]] = ()

    def __post_init__(self) -> None:
        self.exchange = exchange_with(self.policy)

    def told(self, event: Event) -> Told:
        async def once() -> Told:
            return await step(self.exchange, event, deadline=asyncio.get_running_loop().time() + DEADLINE)

        return asyncio.run(once())

    def ask(self, body: Mapping[str, Any] | bytes) -> Proceed | Refuse:
        """The answer to a request with this body."""
        shared = [(":method", "POST"), (":path", self.path), ("content-type", "application/json")]
        self.told(RequestHeaders(Headers([*shared, *self.headers])))
        answer = self.told(RequestBody(body if isinstance(body, bytes) else json.dumps(body).encode()))
        assert isinstance(answer, Proceed | Refuse)
        return answer

    def sent(self, body: Mapping[str, Any] | bytes) -> Any:
        """What the upstream receives, parsed."""
        answer = self.ask(body)
        assert isinstance(answer, Proceed), answer
        raw = answer.body if answer.body is not None else body
        return json.loads(raw) if isinstance(raw, bytes) else raw

    def refused(self, body: Mapping[str, Any] | bytes) -> Refuse:
        answer = self.ask(body)
        assert isinstance(answer, Refuse), answer
        return answer

    def whole(self, document: Any) -> Any:
        """What the caller gets for an answer that is no stream."""
        answer = self.whole_raw(json.dumps(document).encode())
        assert isinstance(answer, Deliver), answer
        return json.loads(answer.data)

    def whole_raw(self, body: bytes, status: int = 200) -> Told:
        told = self.told(ResponseHeaders(status, Headers([("content-type", "application/json")])))
        if isinstance(told, Proceed) and told.last:
            return Deliver(body, end=True)
        return self.told(ResponseBody(body, end=True))

    def stream(self, chunks: Iterable[bytes]) -> bytes:
        """What the caller gets for a stream that comes in these chunks."""
        told = self.told(ResponseHeaders(200, Headers([("content-type", "text/event-stream")])))
        assert isinstance(told, Proceed), told
        if told.last:
            return b"".join(chunks)
        answers = [self.told(ResponseBody(chunk)) for chunk in chunks] + [self.told(ResponseBody(b"", end=True))]
        assert all(isinstance(answer, Deliver | Hold) for answer in answers), answers
        return b"".join(answer.data for answer in answers if isinstance(answer, Deliver))

    def events(self, documents: Sequence[Any]) -> list[Any]:
        """The documents of the events the caller gets for a stream of these, each event a chunk."""
        return parsed(self.stream(event(document) for document in documents))

    def close(self) -> Sequence[Effect]:
        self.effects = self.exchange.close(Cause.COMPLETED)
        return self.effects


def event(document: Any) -> bytes:
    """An SSE event; Anthropic's and the Responses API's are named after their type."""
    if isinstance(document, str):
        return SseEvent.of(document).raw
    return SseEvent.of(json.dumps(document), document.get("type")).raw


def parsed(stream: bytes) -> list[Any]:
    parser = SseParser()
    events = [*parser.feed(stream), *parser.finish()]
    return [event.json if event.json is not None else event.data for event in events]


def user(content: Any, **members: Any) -> dict[str, Any]:
    """A chat request."""
    return {"model": "m", "messages": [{"role": "user", "content": content}], **members}


def delta(index: int = 0, finish: str | None = None, **members: Any) -> dict[str, Any]:
    """A chat stream's event."""
    choice = {"index": index, "delta": members, "finish_reason": finish}
    return {"id": "c1", "object": "chat.completion.chunk", "model": "m", "choices": [choice]}


def joined(documents: Sequence[Any], index: int = 0, name: str = "content") -> str:
    """One channel's text of a chat stream."""
    choices = [choice for document in documents if isinstance(document, dict) for choice in document["choices"]]
    return "".join(choice["delta"].get(name) or "" for choice in choices if choice["index"] == index)


def arguments(documents: Sequence[Any], call: int = 0) -> str:
    """One tool call's arguments of a chat stream."""
    choices = [choice for document in documents if isinstance(document, dict) for choice in document["choices"]]
    calls = [each for choice in choices for each in choice["delta"].get("tool_calls") or ()]
    return "".join(each["function"].get("arguments", "") for each in calls if each["index"] == call)
