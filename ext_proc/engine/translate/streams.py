"""Streams of one API, event by event, as the other one's. However the bytes were cut: events come whole (see core/sse)."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

from headrace.ext_proc.core.sse import SseEvent
from headrace.ext_proc.engine.translate.answers import (
    error_to_anthropic,
    error_to_openai,
    tier_to_openai,
    usage_to_anthropic,
    usage_to_openai,
)
from headrace.ext_proc.engine.translate.calls import Call, Calls
from headrace.ext_proc.engine.translate.values import (
    FINISH,
    Document,
    mapping,
    mappings,
    stop_reason,
    string,
    text_of,
    texts,
    thought_of,
)


class Stream(Protocol):
    """One answer."""

    def event(self, event: SseEvent) -> Sequence[SseEvent]:
        """What goes out in place of one event."""
        ...

    def end(self) -> Sequence[SseEvent]:
        """What is still owed where the last event has come and none said so: some servers write no `[DONE]`.

        Nothing where the answer was cut off, without a word why the model stopped: it must not look whole.
        """
        ...


class ToOpenAI:
    """Anthropic's events as chunks of a chat completion. created: epoch seconds; with_usage: the caller asked for its chunk."""

    def __init__(self, created: int, *, with_usage: bool) -> None:
        self._head: Document = {"id": "", "object": "chat.completion.chunk", "created": created, "model": ""}
        self._with_usage = with_usage
        self._usage: Document = {}
        self._calls = -1
        self._given: Document | None = None
        """What the open call was begun with, until arguments come: Claude sends none for a tool that takes none."""
        self._finished, self._done = False, False

    def event(self, event: SseEvent) -> Sequence[SseEvent]:
        document = mapping(event.json)
        match document.get("type"):
            case "message_start":
                return self._start(mapping(document.get("message")))
            case "content_block_start":
                return self._block(mapping(document.get("content_block")))
            case "content_block_delta":
                return self._delta(mapping(document.get("delta")))
            case "content_block_stop":
                return self._block_stop()
            case "message_delta":
                return self._finish(document)
            case "message_stop":
                return self._stop()
            case "error":
                self._done = True
                return [_data(error_to_openai(document))]
        return []  # pings

    def end(self) -> Sequence[SseEvent]:
        return self._stop() if self._finished else []

    def _start(self, message: Mapping[str, Any]) -> Sequence[SseEvent]:
        self._head |= {"id": string(message.get("id")), "model": string(message.get("model"))}
        self._usage = mapping(message.get("usage"))
        return [self._chunk({"role": "assistant", "content": ""})]

    def _block(self, block: Mapping[str, Any]) -> Sequence[SseEvent]:
        if block.get("type") == "tool_use":
            self._calls += 1
            self._given = mapping(block.get("input"))
            function = {"name": block.get("name"), "arguments": ""}
            call = {"index": self._calls, "id": block.get("id"), "type": "function", "function": function}
            return [self._chunk({"tool_calls": [call]})]
        text = string(block.get("text"))
        return [self._chunk({"content": text})] if text else []

    def _delta(self, delta: Mapping[str, Any]) -> Sequence[SseEvent]:
        match delta.get("type"):
            case "text_delta":
                return [self._chunk({"content": string(delta.get("text"))})]
            case "thinking_delta":
                return [self._chunk({"reasoning_content": string(delta.get("thinking"))})]
            case "input_json_delta":
                return self._arguments(string(delta.get("partial_json")))
        return []  # signatures and citations

    def _arguments(self, part: str) -> Sequence[SseEvent]:
        if not part:
            return []
        self._given = None
        return [self._chunk({"tool_calls": [{"index": max(self._calls, 0), "function": {"arguments": part}}]})]

    def _block_stop(self) -> Sequence[SseEvent]:
        """A call without arguments gets an object here: callers parse what the parts add up to."""
        return [] if self._given is None else self._arguments(text_of(self._given))

    def _finish(self, document: Mapping[str, Any]) -> Sequence[SseEvent]:
        later = {name: value for name, value in mapping(document.get("usage")).items() if value is not None}
        self._usage = {**self._usage, **later}
        self._finished = True
        return [self._chunk({}, FINISH.get(string(mapping(document.get("delta")).get("stop_reason")), "stop"))]

    def _stop(self) -> Sequence[SseEvent]:
        if self._done:
            return []
        self._done = True
        done = SseEvent.of("[DONE]")
        if not self._with_usage:
            return [done]
        usage = {"usage": usage_to_openai(self._usage), **tier_to_openai(self._usage)}
        return [_data({**self._head, "choices": [], **usage}), done]

    def _chunk(self, delta: Document, finish: str | None = None) -> SseEvent:
        return _data({**self._head, "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})


class ToAnthropic:
    """Chunks of a chat completion as Anthropic's events. One block is open at a time, as Anthropic's clients expect."""

    def __init__(self) -> None:
        self._started = False
        self._stopped = False
        self._block = -1
        self._open: tuple[str, Call | None] | None = None
        """The open block: its kind, and of a tool the call."""
        self._calls = Calls()
        self._called = False
        self._finish: str | None = None
        self._usage: Document = {}

    def event(self, event: SseEvent) -> Sequence[SseEvent]:
        if event.is_done:
            return self._stop()
        document = mapping(event.json)
        if document.get("error"):  # as OpenAI's SDK reads it: some servers write a null into every chunk
            self._stopped = True
            return [_named(error_to_anthropic(document, 500))]
        return list(self._chunk(document)) if "choices" in document else []

    def end(self) -> Sequence[SseEvent]:
        return self._stop() if self._finish is not None else []

    def _chunk(self, document: Mapping[str, Any]) -> Iterator[SseEvent]:
        if not self._started:
            if not any(document.get(name) for name in ("id", "choices", "usage")):
                return  # Azure's verdicts on the prompt, in a chunk that names neither the answer nor its model
            self._started = True
            yield self._start(document)
        if usage := mapping(document.get("usage")):
            self._usage = usage_to_anthropic(usage, document.get("service_tier"))
        for choice in mappings(document.get("choices"))[:1]:
            yield from self._delta(mapping(choice.get("delta")))
            if isinstance(finish := choice.get("finish_reason"), str):
                self._finish = finish

    def _start(self, document: Mapping[str, Any]) -> SseEvent:
        message: Document = {
            "id": string(document.get("id")),
            "type": "message",
            "role": "assistant",
            "model": string(document.get("model")),
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": {"input_tokens": 0, "output_tokens": 0},
        }
        return _named({"type": "message_start", "message": message})

    def _delta(self, delta: Mapping[str, Any]) -> Iterator[SseEvent]:
        if thought := thought_of(delta):
            yield from self._told(self._calls.end())
            yield from self._block_of("thinking", None, {"type": "thinking", "thinking": "", "signature": ""})
            yield self._part({"type": "thinking_delta", "thinking": thought})
        if text := texts(delta.get("content")) or string(delta.get("refusal")):
            yield from self._told(self._calls.end())
            yield from self._block_of("text", None, {"type": "text", "text": ""})
            yield self._part({"type": "text_delta", "text": text})
        for call in mappings(delta.get("tool_calls")):
            yield from self._told(self._calls.take(call))

    def _told(self, calls: Iterator[tuple[Call, str]]) -> Iterator[SseEvent]:
        for call, part in calls:
            self._called = True
            yield from self._block_of("tool", call, call.block)
            if part:
                yield self._part({"type": "input_json_delta", "partial_json": part})

    def _block_of(self, kind: str, call: Call | None, block: Document) -> Iterator[SseEvent]:
        """Opens a block of that kind, unless it is open."""
        if self._open == (kind, call):
            return
        yield from self._close()
        self._open, self._block = (kind, call), self._block + 1
        yield _named({"type": "content_block_start", "index": self._block, "content_block": block})

    def _close(self) -> Iterator[SseEvent]:
        if self._open is not None:
            self._open = None
            yield _named({"type": "content_block_stop", "index": self._block})

    def _part(self, delta: Document) -> SseEvent:
        return _named({"type": "content_block_delta", "index": self._block, "delta": delta})

    def _stop(self) -> Sequence[SseEvent]:
        if self._stopped or not self._started:
            return []
        self._stopped = True
        rest = [*self._told(self._calls.end()), *self._close()]
        reason = {"stop_reason": stop_reason(self._finish, called=self._called), "stop_sequence": None}
        usage = self._usage or {"output_tokens": 0}
        return [
            *rest,
            _named({"type": "message_delta", "delta": reason, "usage": usage}),
            _named({"type": "message_stop"}),
        ]


def _data(document: Document) -> SseEvent:
    return SseEvent.of(json.dumps(document))


def _named(document: Document) -> SseEvent:
    return SseEvent.of(json.dumps(document), str(document["type"]))
