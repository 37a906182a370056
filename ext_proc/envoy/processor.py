"""The ext_proc service: one ProcessStream per HTTP request, message bytes in, message bytes out. The transport is elsewhere."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from typing import NamedTuple

from headrace.ext_proc.audit.witness import Witness
from headrace.ext_proc.audit.worker import Audits
from headrace.ext_proc.core.effects import Cause, Effect
from headrace.ext_proc.core.errors import HeadraceError
from headrace.ext_proc.core.events import Proceed, Reading, Refuse, RequestBody, RequestHeaders
from headrace.ext_proc.core.exchange import Exchange, State
from headrace.ext_proc.core.needs import Capability
from headrace.ext_proc.core.session import Policy
from headrace.ext_proc.engine.candidate import CandidateRunner, Recording
from headrace.ext_proc.engine.clock import SystemClock
from headrace.ext_proc.engine.guard import shield
from headrace.ext_proc.engine.step import Steps, step
from headrace.ext_proc.envoy.attempt import UPSTREAM, Attempts, AttemptStream
from headrace.ext_proc.envoy.codec import decode, encode, message_of
from headrace.ext_proc.envoy.config.names import ANSWER_SHARE, MESSAGE_TIMEOUT
from headrace.ext_proc.envoy.config.names import ANSWER_WITHIN as WITHIN_WORD
from headrace.ext_proc.envoy.duplex import Duplex
from headrace.ext_proc.envoy.pb import headrace_ext_proc_pb2 as pb

METHOD = "/envoy.service.ext_proc.v3.ExternalProcessor/Process"
CAPABILITIES = "headrace-capabilities"
"""Initial metadata of the gRPC stream, written into the gateway's configuration: what the gateway does by itself."""

ANSWER_WITHIN = MESSAGE_TIMEOUT * ANSWER_SHARE
"""Seconds for one answer, where the gateway does not say otherwise."""
LONGEST_ANSWER = 600.0
"""Seconds that a gateway may allow."""

_WALL = SystemClock()


class ModeError(HeadraceError):
    """The proxy's processing mode would let bodies pass unseen."""


class Processor:
    """Opens a stream for every HTTP request.

    policy: gives the current policy; a stream pins it. new_id: gives unique exchange ids. submit: takes the effects.
    now_ms: epoch milliseconds, for the decision's record. attempts: for the streams of upstreams' own filters. candidates: try
    another policy on the same requests. audits: record them.
    """

    def __init__(
        self,
        policy: Callable[[], Policy],
        new_id: Callable[[], str],
        submit: Callable[[Sequence[Effect]], None],
        now_ms: Callable[[], int] = _WALL.now_ms,
        attempts: Attempts | None = None,
        candidates: CandidateRunner | None = None,
        audits: Audits | None = None,
    ) -> None:
        self._policy = policy
        self._new_id = new_id
        self._submit = submit
        self._now_ms = now_ms
        self._attempts = attempts or Attempts(dict)
        self._candidates = candidates
        self._audits = audits
        self.active = 0

    def open(self, metadata: Mapping[str, str]) -> "ProcessStream | AttemptStream":
        """metadata: the gRPC stream's initial metadata. Raises UnknownUpstream."""
        if (upstream := metadata.get(UPSTREAM)) is not None:
            stream = self._attempts.open(upstream, self._finish_attempt)
            self.active += 1
            return stream
        self.active += 1
        able, ways = _said(metadata.get(CAPABILITIES, ""))
        exchange = Exchange(self._new_id(), self._policy(), shield, capabilities=able)
        exchange.decision.start_ms = self._now_ms()
        recording = self._candidates.record(able) if self._candidates is not None else None
        witness = self._audits.witness(exchange) if self._audits is not None else None
        return ProcessStream(exchange, self._finish, ways, recording, witness)

    def _finish_attempt(self) -> None:
        self.active -= 1

    def _finish(self, effects: Sequence[Effect], recording: Recording | None = None) -> None:
        self.active -= 1
        if recording is not None and self._candidates is not None:
            self._candidates.offer(recording, effects)
        self._submit(effects)


_WORDS = {"access-log": Capability.ACCESS_LOG, "failover": Capability.FAILOVER, "calls-only": Capability.CALLS_ONLY}


def capabilities_of(words: Sequence[str]) -> Capability:
    """What the core knows of them; words of later versions are passed over."""
    found = Capability.NOTHING
    for word, capability in _WORDS.items():
        if word in words:
            found |= capability
    return found


def answer_within(words: Sequence[str]) -> float:
    """Seconds that the gateway gives the service for an answer."""
    told = [word.removeprefix(WITHIN_WORD) for word in words if word.startswith(WITHIN_WORD)]
    if not told or not (told[0].isascii() and told[0].isdigit()):
        return ANSWER_WITHIN
    return min(int(told[0][:9]) / 1000, LONGEST_ANSWER)


class Ways(NamedTuple):
    """What the gateway said at the start of the stream. answer_within: seconds."""

    reads_answers: bool
    every_chunk: bool = False
    answer_within: float = ANSWER_WITHIN


@lru_cache(64)
def _said(text: str) -> tuple[Capability, Ways]:
    """What a gateway says at the start of every stream, in the same words."""
    words = text.split(",")
    return capabilities_of(words), Ways("mode-override" in words, "every-chunk" in words, answer_within(words))


class ProcessStream:
    """One HTTP request's conversation with the proxy.

    `finished` after a message: end the gRPC stream with status OK. Every other way out must be an error status: a clean end tells
    Envoy to go on without us.
    """

    def __init__(
        self,
        exchange: Exchange,
        finish: Callable[[Sequence[Effect], Recording | None], None],
        ways: Ways,
        recording: Recording | None = None,
        witness: Witness | None = None,
    ) -> None:
        self.finished = False
        self._witness = witness
        self._step: Steps = witness.step if witness is not None else partial(step, exchange)
        self._recording = recording
        self._ways = ways
        self._reading: Reading | None = None
        self._exchange = exchange
        self._finish = finish
        self._wrong = ""
        self._first = True
        self._duplex: Duplex | None = None

    async def receive(self, data: bytes) -> Sequence[bytes]:
        """The messages to send in answer to one message.

        Raises ProtocolError or ModeError, after which the stream must be aborted.
        """
        message = message_of(data)
        if self._first:
            self._first = False
            self._wrong, both_ways = _modes(message)
            self._duplex = Duplex(self._exchange, self._ways.answer_within, self._step) if both_ways else None
        if self._duplex is not None:
            answers = await self._duplex.receive(message)
            self.finished = self._duplex.refused
            return [one.SerializeToString() for one in answers]
        event = decode(message, self._reading)
        if self._recording is not None and isinstance(event, RequestHeaders | RequestBody):
            self._recording.events.append(event)
        answer = await self._step(event, deadline=asyncio.get_running_loop().time() + self._ways.answer_within)
        self.finished = isinstance(answer, Refuse) or (isinstance(answer, Proceed) and answer.last)
        if self._wrong and not self.finished:
            raise ModeError(self._wrong)
        if not self._ways.reads_answers and self._exchange.state is State.AWAIT_RESPONSE:
            self._exchange.withdraw()
            raise ModeError("a filter must read the answer and the gateway does not give it; run the gateway's doctor")
        messages = encode(event, answer, self._reading, every_chunk=self._ways.every_chunk)
        if isinstance(answer, Proceed) and answer.read is not None:
            self._reading = answer.read
        return messages

    @property
    def over(self) -> bool:
        """The exchange has come to its end; the proxy closing the stream now is no accident."""
        return self._exchange.state is State.DONE if self._duplex is None else self._duplex.over

    def close(self, cause: Cause) -> None:
        """Call exactly once, however the stream ends; `cause` counts where the exchange had not ended by itself."""
        effects = self._exchange.close(cause)
        if self._witness is not None:
            self._witness.close(effects)
        self._finish(effects, self._recording)


class Modes(NamedTuple):
    """wrong: why Headrace cannot work in them, else empty. both_ways: every body is streamed, in both directions."""

    wrong: str
    both_ways: bool


def _modes(first: pb.ProcessingRequest) -> Modes:
    """The modes in force, which the first message of a stream names."""
    told, config = first.HasField("protocol_config"), first.protocol_config
    return _judged(first.observability_mode, told, config.request_body_mode, config.response_body_mode)


@lru_cache(64)
def _judged(observes: bool, told: bool, request: pb.BodySendMode, response: pb.BodySendMode) -> Modes:
    both_ways = request == response == pb.FULL_DUPLEX_STREAMED
    return Modes(_wrong(observes, told, request, response, both_ways), both_ways)


def _wrong(observes: bool, told: bool, request: pb.BodySendMode, response: pb.BodySendMode, both_ways: bool) -> str:
    if observes:
        return "observability_mode is on: Envoy ignores every answer; remove it from the ext_proc filter"
    if not told:
        return "the proxy does not say which processing mode is in force; Envoy 1.34 or newer is needed"
    if both_ways:
        return ""
    if request != pb.BUFFERED:
        return "request_body_mode must be BUFFERED; run `headrace envoy doctor` on the gateway's configuration"
    if response != pb.NONE:
        # Envoy loses what it streamed to us before it saw us close; what we need of an answer we ask for.
        return "response_body_mode must be NONE; run `headrace envoy doctor` on the gateway's configuration"
    return ""
