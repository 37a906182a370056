"""One exchange in this process, as behind a gateway that does what it is told: for `explain`, policy tests and replay.

Nothing is sent. What the model server would answer is given, and cost is settled in the store of the ports that the policy was
compiled with.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Any, Protocol, Self, runtime_checkable

from headrace.ext_proc.core.effects import Cause, Effect, Record, Release, Settle
from headrace.ext_proc.core.endpoint import Endpoint, endpoint_of
from headrace.ext_proc.core.events import (
    Answer,
    Deliver,
    Event,
    Proceed,
    Reading,
    Refuse,
    RequestBody,
    RequestHeaders,
    ResponseBody,
    ResponseHeaders,
)
from headrace.ext_proc.core.exchange import Exchange, State
from headrace.ext_proc.core.headers import Headers
from headrace.ext_proc.core.json_body import parse
from headrace.ext_proc.core.needs import Capability
from headrace.ext_proc.core.ports import Clock, Store
from headrace.ext_proc.core.price import Price
from headrace.ext_proc.core.principal import PRINCIPAL, Principal, members_of
from headrace.ext_proc.core.request import Request
from headrace.ext_proc.core.session import Choice, Filter, Link, Session
from headrace.ext_proc.core.settlement import Finished, settlement
from headrace.ext_proc.core.sse import SseParser
from headrace.ext_proc.core.usage import Usage, UsageMeter
from headrace.ext_proc.core.verdict import Continue, Edits, Verdict
from headrace.ext_proc.engine.effects import EffectRunner
from headrace.ext_proc.engine.guard import shield
from headrace.ext_proc.engine.json_text import json_or_none
from headrace.ext_proc.engine.policy.chain import Fixed
from headrace.ext_proc.engine.policy.compile import Policy
from headrace.ext_proc.engine.step import step
from headrace.ext_proc.engine.translate import translated, translator_for

PATIENCE = 60.0
"""Seconds a hook may take where its filter's own deadline is not shorter: a language model that starts is waited for."""
JSON, EVENTS = "application/json", "text/event-stream"


@dataclass(frozen=True)
class Asked:
    """A request as its caller sends it. headers: names in lower case; one may come twice."""

    body: bytes
    method: str = "POST"
    path: str = "/v1/chat/completions"
    headers: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True)
class Answered:
    """What the model server answers, in the caller's API. stream: `body` is made of server-sent events."""

    body: bytes
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    stream: bool = False


@dataclass(frozen=True)
class Sent:
    """What reaches the model server, in its own API. upstream: empty where the gateway's own route decides. body: None where it is
    as it came.
    """

    upstream: str
    edits: Edits
    body: bytes | None


@dataclass(frozen=True)
class Got:
    """What reaches the caller."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Played:
    """sent: None where the request was refused. got: None where it was not, and no answer was given. record: the decision's
    members. settlements: the members of what was settled or released, in order; `usd` where there is a price.
    """

    record: Mapping[str, Any]
    sent: Sent | None
    got: Got | None
    settlements: Sequence[Mapping[str, Any]]
    refused: str = ""
    """The reason of a refusal."""


class Trial:
    """Plays exchanges, one after the other, on the same counters. An async context: at its end nothing is left to settle."""

    def __init__(self, policy: Policy, store: Store, clock: Clock) -> None:
        self._policy = policy
        self._records: list[Record] = []
        self._runner = EffectRunner(store, clock, [self._records.append])
        self._count = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self._runner.drain(PATIENCE)

    async def play(self, asked: Asked, answered: Answered | None = None, who: Principal | None = None) -> Played:
        """The exchange, to its end. who: in place of what the identity filter would find out."""
        self._count += 1
        self._records.clear()
        policy = known(self._policy, who) if who else self._policy
        played = await _Play(policy, f"trial-{self._count}", self._runner).run(asked, answered)
        await self._runner.drain(PATIENCE)
        decision = next(record for record in self._records if record.kind == "decision")
        settled = [record.members for record in self._records if record.kind == "settlement"]
        return replace(played, record={**decision.members, **played.record}, settlements=settled)


class _Play:
    """One exchange, and what its gateway knows of it."""

    def __init__(self, policy: Policy, id: str, runner: EffectRunner) -> None:
        self._exchange = Exchange(id, policy, shield, capabilities=Capability.ACCESS_LOG | Capability.TRIAL)
        self._runner = runner
        self._destinations = policy.destinations
        self._catalogue = policy.catalogue
        self._metadata: dict[str, Any] = {}
        self._meter = UsageMeter()
        self._endpoint: Endpoint | None = None

    async def run(self, asked: Asked, answered: Answered | None) -> Played:
        """Without its record and its settlements, which the runner's observers have."""
        self._endpoint = endpoint_of(asked.method, asked.path, has_body=bool(asked.body))
        request = await self._request(asked)
        if isinstance(request, Refuse):
            return self._refused(request, None)
        request = self._attempt(request, asked)
        if isinstance(request, Refuse):
            return replace(self._refused(request, None), record={"outcome": "refused", "reason": request.reason})
        if answered is None:
            self._submit(self._exchange.close(Cause.ABORTED))
            return Played({}, request, None, ())
        got = await self._answer(answered)
        if isinstance(got, Refuse):
            return self._refused(got, request)
        self._end(got.status, reached=True)
        return Played({}, request, got, ())

    def _refused(self, refusal: Refuse, sent: Sent | None) -> Played:
        self._end(refusal.status, reached=sent is not None)
        return Played({}, sent, Got(refusal.status, refusal.headers, refusal.body), (), refusal.reason)

    def _end(self, status: int, *, reached: bool) -> None:
        """The exchange is over, then the gateway's access log has its entry. reached: a model server had the request."""
        effects = self._exchange.close(Cause.COMPLETED)
        self._submit([*effects, *_unleased(effects, self._exchange.price)])
        usage = self._meter.usage
        flat = {} if usage is None else {**usage.members, "service_tier": usage.service_tier}
        self._submit(settlement(Finished(self._metadata, flat, status, reached)))

    def _submit(self, effects: Sequence[Effect]) -> None:
        self._runner.submit(effects)

    async def _step(self, event: Event) -> Answer:
        return await step(self._exchange, event, deadline=asyncio.get_running_loop().time() + PATIENCE)

    async def _request(self, asked: Asked) -> Sent | Refuse:
        fixed = [(":method", asked.method), (":path", asked.path), (":authority", "gateway")]
        typed = any(name == "content-type" for name, _ in asked.headers) or not asked.body
        fixed += [] if typed else [("content-type", JSON)]
        answers = [await self._step(RequestHeaders(Headers([*fixed, *asked.headers]), not asked.body))]
        if self._exchange.state is State.AWAIT_BODY:
            answers.append(await self._step(RequestBody(asked.body)))
        if isinstance(refusal := answers[-1], Refuse):
            return refusal
        return self._sent([answer for answer in answers if isinstance(answer, Proceed)])

    def _sent(self, answers: Sequence[Proceed]) -> Sent:
        for answer in answers:
            self._metadata |= answer.metadata
        edits = Edits(
            set_headers={name: value for answer in answers for name, value in answer.edits.set_headers.items()},
            remove_headers=tuple(name for answer in answers for name in answer.edits.remove_headers),
        )
        bodies = [answer.body for answer in answers if answer.body is not None]
        return Sent(str(self._metadata.get("route", "")), edits, bodies[-1] if bodies else None)

    def _attempt(self, sent: Sent, asked: Asked) -> Sent | Refuse:
        """What the upstream gets: where it speaks another API than the caller, the gateway calls once more to translate."""
        destination = self._destinations.get(sent.upstream)
        translator = translator_for(self._endpoint, destination.dialect) if destination is not None else None
        if translator is None:
            return sent
        said = parse(asked.body if sent.body is None else sent.body)
        body = translated(translator, said, self._exchange.id, self._efforts())
        return body if isinstance(body, Refuse) else replace(sent, body=body)

    def _efforts(self) -> Sequence[str]:
        """Those that the model takes that was chosen."""
        return next((model.efforts for model in self._catalogue if model.name == self._metadata.get("model")), ())

    async def _answer(self, answered: Answered) -> Got | Refuse:
        headers = {"content-type": EVENTS if answered.stream else JSON, **answered.headers}
        reading = await self._reading(answered, headers)
        if isinstance(reading, Refuse):
            return reading
        if reading is None:
            self._read_past(answered)
            return Got(answered.status, headers, answered.body)
        if reading is Reading.STREAM:
            return Got(answered.status, headers, b"".join([piece async for piece in self._stream(answered.body)]))
        whole = await self._step(ResponseBody(answered.body, end=True))
        if isinstance(whole, Refuse):
            return whole
        assert isinstance(whole, Deliver), "a whole answer is delivered or refused"
        return Got(answered.status, headers, whole.data)

    async def _reading(self, answered: Answered, headers: Mapping[str, str]) -> Reading | Refuse | None:
        if self._exchange.state is not State.AWAIT_RESPONSE:
            return None
        pairs = [(":status", str(answered.status)), *headers.items()]
        answer = await self._step(ResponseHeaders(answered.status, Headers(pairs)))
        if isinstance(answer, Refuse):
            return answer
        assert isinstance(answer, Proceed), "headers are answered at once"
        self._metadata |= answer.metadata
        return None if answer.last else answer.read

    def _read_past(self, answered: Answered) -> None:
        """As the gateway reads the usage of an answer that stays in it."""
        if not answered.stream:
            self._meter.whole(json_or_none(answered.body), has_answer=self._endpoint is None or self._endpoint.has_answer)
            return
        for event in SseParser().feed(answered.body):
            self._meter.event(event)

    async def _stream(self, body: bytes) -> AsyncIterator[bytes]:
        for event in (ResponseBody(body), ResponseBody(b"", end=True)):
            answer = await self._step(event)
            assert isinstance(answer, Deliver), "a stream is delivered"
            yield answer.data
            if answer.end:
                return


def _unleased(effects: Sequence[Effect], price: Price | None) -> Sequence[Effect]:
    """What an answer that passed through here cost where no budget holds a lease: the service tells its usage in the decision."""
    if any(isinstance(effect, Settle | Release) for effect in effects):
        return ()
    used = (effect.members.get("usage") for effect in effects if isinstance(effect, Record) and effect.kind == "decision")
    return [Settle("", None, Usage(**members), price) for members in used if members]


class _Known(Session):
    """Where nothing identifies callers."""

    def __init__(self, who: Principal) -> None:
        self._who = who

    async def on_headers(self, request: Request) -> Verdict:
        note = {"source": "assumed", **members_of(self._who)}
        return Continue(facts={PRINCIPAL: self._who}, note=note, reason="auth.assumed")


class _First:
    def __init__(self, who: Principal) -> None:
        self._who = who

    def choose(self, request: Request) -> Link:
        return Link("identity", self)

    def open(self, request: Request) -> Session:
        return _Known(self._who)


@runtime_checkable
class Assuming(Protocol):
    """A filter that finds out who calls."""

    def assuming(self, who: Principal) -> Filter:
        """The same filter, to which every caller is `who`."""
        ...


def known(policy: Policy, who: Principal) -> Policy:
    """The policy with a caller who is known: to the filter that would find out, at its place."""
    chain = tuple(_assuming(choice, who) for choice in policy.chain)
    return replace(policy, chain=(_First(who), *chain) if chain == policy.chain else chain)


def _assuming(choice: Choice, who: Principal) -> Choice:
    match choice:
        case Fixed(link=Link(filter=Assuming() as filter) as link):
            return Fixed(replace(link, filter=filter.assuming(who)))
    return choice
