"""Filters that do what a test scripts, policies made of them, and the events of a usual exchange."""

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from headrace.ext_proc.core.effects import Effect, Outcome, Record
from headrace.ext_proc.core.events import Answer, Event, Proceed, RequestBody, RequestHeaders, ResponseBody, ResponseHeaders
from headrace.ext_proc.core.exchange import Exchange
from headrace.ext_proc.core.headers import Headers
from headrace.ext_proc.core.needs import Capability, Needs
from headrace.ext_proc.core.request import Request, Response
from headrace.ext_proc.core.session import Choice, Link, Session
from headrace.ext_proc.core.sse import SseEvent
from headrace.ext_proc.core.verdict import PASS, Reply, Verdict
from headrace.ext_proc.engine.guard import shield
from headrace.ext_proc.engine.step import step

DENIED = Reply(403, "test.denied", "No.")
CHAT = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}


class ScriptedSession(Session):
    """Each hook does what the script says of it: give a value, raise an exception, or call a function with the hook's argument."""

    def __init__(self, script: Mapping[str, Any]) -> None:
        self.needs = script.get("needs", Needs.NOTHING)
        self.joins = script.get("joins", Needs.NOTHING)
        self.heard: list[str] = []
        self.outcomes: list[Outcome] = []
        self._script = script

    async def on_headers(self, request: Request) -> Verdict:
        return await self._verdict("on_headers", request)

    async def on_request(self, request: Request) -> Verdict:
        return await self._verdict("on_request", request)

    async def on_response(self, response: Response) -> Verdict:
        return await self._verdict("on_response", response)

    def on_event(self, event: SseEvent) -> Sequence[SseEvent]:
        events: Sequence[SseEvent] = self._do("on_event", event, (event,))
        return events

    def on_stream_end(self) -> Sequence[SseEvent]:
        events: Sequence[SseEvent] = self._do("on_stream_end", None, ())
        return events

    def close(self, outcome: Outcome) -> Sequence[Effect]:
        self.outcomes.append(outcome)
        effects: Sequence[Effect] = self._do("close", outcome, ())
        return effects

    async def _verdict(self, hook: str, argument: Any) -> Verdict:
        verdict = self._do(hook, argument, PASS)
        if asyncio.iscoroutine(verdict):
            verdict = await verdict
        return verdict  # type: ignore[no-any-return]  # a script may give what no filter may

    def _do(self, hook: str, argument: Any, usual: Any) -> Any:
        self.heard.append(hook)
        return scripted(self._script.get(hook, usual), argument)


def scripted(told: Any, argument: Any) -> Any:
    if isinstance(told, BaseException):
        raise told
    return told(argument) if callable(told) else told


@dataclass
class ScriptedFilter:
    """A filter that keeps the sessions it opened. script: hook → what it does; `open`: False or an exception."""

    script: Mapping[str, Any]
    sessions: list[ScriptedSession] = field(default_factory=list)

    def open(self, request: Request) -> Session | None:
        if scripted(self.script.get("open", True), request) is False:
            return None
        self.sessions.append(ScriptedSession(self.script))
        return self.sessions[-1]

    @property
    def session(self) -> ScriptedSession:
        assert len(self.sessions) == 1
        return self.sessions[0]


def noting(seen: list[Any], read: Callable[[Any], Any]) -> Callable[[Any], Verdict]:
    """A hook that notes what it reads of the request or answer, and passes."""

    def hook(argument: Any) -> Verdict:
        seen.append(read(argument))
        return PASS

    return hook


def filter_of(**script: Any) -> ScriptedFilter:
    return ScriptedFilter(script)


@dataclass(frozen=True)
class Always:
    """A place of the chain with the same link for every request."""

    link: Link | None

    def choose(self, request: Request) -> Link | None:
        return self.link


@dataclass(frozen=True)
class ChainPolicy:
    """A policy that is nothing but its chain."""

    chain: Sequence[Choice]
    refuse_other_paths: bool = False
    revision: str = "r1"
    private_headers: Sequence[str] = ()

    def passes(self, method: str, path: str) -> bool:
        return not self.refuse_other_paths


def policy_of(*filters: ScriptedFilter | Link, refuse_other_paths: bool = False) -> ChainPolicy:
    """A chain of these; a bare filter fails closed and is called f0, f1 and so on by its place."""
    links = [it if isinstance(it, Link) else Link(f"f{index}", it) for index, it in enumerate(filters)]
    return ChainPolicy([Always(link) for link in links], refuse_other_paths)


def exchange_of(*filters: ScriptedFilter | Link, capabilities: Capability = Capability.NOTHING) -> Exchange:
    return Exchange("e1", policy_of(*filters), shield, capabilities=capabilities)


async def told(exchange: Exchange, *events: Event) -> list[Answer]:
    """The exchange's answers, one for each event."""
    deadline = asyncio.get_running_loop().time() + 30
    return [await step(exchange, event, deadline=deadline) for event in events]


async def last(exchange: Exchange, *events: Event) -> Answer:
    return (await told(exchange, *events))[-1]


def post(path: str = "/v1/chat/completions", *, end: bool = False, **headers: str) -> RequestHeaders:
    """Request headers; `content_type="x"` is the header content-type."""
    named = [(name.replace("_", "-"), value) for name, value in headers.items()]
    return RequestHeaders(Headers([(":method", "POST"), (":path", path), *named]), end)


def body(document: Any = CHAT) -> RequestBody:
    return RequestBody(document if isinstance(document, bytes) else json.dumps(document).encode())


def answer_head(content_type: str = "application/json", status: int = 200, **headers: str) -> ResponseHeaders:
    named = [(name.replace("_", "-"), value) for name, value in headers.items()]
    return ResponseHeaders(status, Headers([(":status", str(status)), ("content-type", content_type), *named]))


STREAM = answer_head("text/event-stream; charset=utf-8")


def chunk(document: Any, *, end: bool = False) -> ResponseBody:
    """One event of a stream."""
    data = document if isinstance(document, str) else json.dumps(document)
    return ResponseBody(f"data: {data}\n\n".encode(), end)


def delta(text: str) -> Mapping[str, Any]:
    """A chat chunk's document."""
    return {"choices": [{"index": 0, "delta": {"content": text}}]}


def proceeds(answer: Answer) -> Proceed:
    assert isinstance(answer, Proceed), answer
    return answer


def decision_in(effects: Sequence[Effect]) -> Mapping[str, Any]:
    """The one decision record among the effects."""
    records = [effect.members for effect in effects if isinstance(effect, Record) and effect.kind == "decision"]
    assert len(records) == 1
    return records[0]
