"""One HTTP request with its response, as a state machine: events in, asks for the filters, answers out, effects at the end.

    START ──RequestHeaders──▶ AWAIT_BODY ──RequestBody──▶ AWAIT_RESPONSE ──ResponseHeaders──▶ STREAMING or COLLECTING ──▶ DONE
      └── nothing more to see, or refused ─────────────────────────────────────────────────────────────────────────────▶ DONE

The table at the end of this file is the machine: an event that has no row in a state is a ProtocolError. close() is possible in
every state, takes effect once, and gives the effects.
"""

from collections.abc import Callable, Mapping, Sequence
from types import GeneratorType
from typing import Any, cast

from headrace.ext_proc.core.answer_half import AnswerHalf
from headrace.ext_proc.core.candidates import answered, settled_as
from headrace.ext_proc.core.course import Flow, State
from headrace.ext_proc.core.effects import Cause, Effect, Outcome, Record
from headrace.ext_proc.core.errors import ProtocolError
from headrace.ext_proc.core.events import (
    Answer,
    Event,
    Hold,
    RequestBody,
    RequestHeaders,
    ResponseBody,
    ResponseHeaders,
    ResponseTrailers,
)
from headrace.ext_proc.core.needs import Capability
from headrace.ext_proc.core.price import Price
from headrace.ext_proc.core.request_half import RequestHalf
from headrace.ext_proc.core.seats import Ask, FilterFailed, Resolution, Seated, Shield
from headrace.ext_proc.core.session import Policy
from headrace.ext_proc.core.terms import PRICE

__all__ = ["Exchange", "State"]


class Exchange(RequestHalf, AnswerHalf):
    """Drive it with `step` of the engine: receive, then next_ask and resolve until there is none, then answer.

    id: unique; it names the lease, too. policy: pinned for the exchange's life. shield: runs the filters' sync hooks.
    """

    def __init__(self, id: str, policy: Policy, shield: Shield, *, capabilities: Capability = Capability.NOTHING) -> None:
        super().__init__(id, policy, shield, capabilities)
        self._flow: Flow | None = None
        self._ask: Ask | None = None
        self._answer: Answer = Hold()

    def receive(self, event: Event) -> None:
        """Raises ProtocolError when this state does not allow the event."""
        row = _TABLE.get((self.state, type(event)))
        if row is None:
            raise ProtocolError(f"{type(event).__name__} came while {self.state.value}")
        result = row(self, event)
        if isinstance(result, GeneratorType):
            self._flow = result
            self._advance(None)
        else:
            self._answer = cast(Answer, result)  # mypy does not see that a Flow is a generator

    def next_ask(self) -> Ask | None:
        """The question that stands between the event and its answer, or None."""
        return self._ask

    def resolve(self, resolution: Resolution) -> None:
        """Answers the ask."""
        self._advance(resolution)

    def answer(self) -> Answer:
        """The answer to the last event received; only when next_ask() is None."""
        return self._answer

    def decided(self) -> Record:
        """The decision as it stands, also while the answer is still to come; `close` gives the final one."""
        self.decision.answer = answered(self.decision.metadata, self._upstream)
        record = self.decision.record(self._outcome(Cause.HANDED_OFF))
        return Record(record.kind, {**record.members, "steps": [*self.decision.steps]})

    @property
    def price(self) -> Price | None:
        """What a token of it costs, as far as that is known by now."""
        return self._request.facts.get(PRICE)

    def close(self, cause: Cause = Cause.ABORTED) -> Sequence[Effect]:
        """Ends the exchange: `cause` unless it had ended by itself. The effects come once; every further call gives none."""
        if self.state is State.CLOSED:
            return ()
        self.state = State.CLOSED
        if self._flow is not None:
            self._flow.close()
        outcome = self._outcome(cause)
        effects = [effect for seat in reversed(self._seats) for effect in self._close_seat(seat, outcome)]
        self.decision.answer = answer = answered(self.decision.metadata, self._upstream)
        if answer is not None:
            effects = [settled_as(effect, answer) for effect in effects]
        return [*effects, self.decision.record(outcome)]

    def _outcome(self, cause: Cause) -> Outcome:
        meter = self._meter
        how = self._cause or cause
        return Outcome(how, self._status, meter.usage, meter.text, self._forwarded, self._server, meter.input_tokens)

    def _advance(self, resolution: Resolution | None) -> None:
        assert self._flow is not None, "an ask is resolved once"
        try:
            self._ask = next(self._flow) if resolution is None else self._flow.send(resolution)
        except StopIteration as stop:
            self._flow = self._ask = None
            self._answer = stop.value

    def _close_seat(self, seat: Seated, outcome: Outcome) -> Sequence[Effect]:
        try:
            return seat.close(outcome)
        except FilterFailed:
            self.decision.failed(seat.link, "close")
            return ()


Row = Callable[[Exchange, Any], Answer | Flow]

_TABLE: Mapping[tuple[State, type[Event]], Row] = {
    (State.START, RequestHeaders): Exchange._on_request_headers,
    (State.START, ResponseHeaders): Exchange._on_early_response,
    (State.AWAIT_BODY, RequestBody): Exchange._on_request_body,
    (State.AWAIT_BODY, ResponseHeaders): Exchange._on_early_response,
    (State.AWAIT_RESPONSE, ResponseHeaders): Exchange._on_response_headers,
    (State.COLLECTING, ResponseBody): Exchange._on_collected,
    (State.COLLECTING, ResponseTrailers): Exchange._on_collected_trailers,
    (State.STREAMING, ResponseBody): Exchange._on_chunk,
    (State.STREAMING, ResponseTrailers): Exchange._on_stream_trailers,
    (State.DONE, ResponseBody): Exchange._ignore,
    (State.DONE, ResponseTrailers): Exchange._ignore,
}
