"""One HTTP request with its response, as a state machine: events in, asks for the filters, answers out, effects at the end.

    START ──RequestHeaders──▶ AWAIT_BODY ──RequestBody──▶ AWAIT_RESPONSE ──ResponseHeaders──▶ STREAMING or COLLECTING ──▶ DONE
      └── nothing more to see, or refused ─────────────────────────────────────────────────────────────────────────────▶ DONE

The table at the end of this file is the machine: an event that has no row in a state is a ProtocolError. close() is possible in
every state, takes effect once, and gives the effects.
"""

from collections.abc import Callable, Generator, Mapping, Sequence
from enum import Enum
from functools import partial
from typing import Any

from headrace.ext_proc.core.decision import Decision
from headrace.ext_proc.core.dialect import error_body, error_event, error_headers
from headrace.ext_proc.core.effects import Cause, Effect, Outcome
from headrace.ext_proc.core.endpoint import endpoint_of
from headrace.ext_proc.core.errors import BodyError, ProtocolError, StreamError
from headrace.ext_proc.core.events import (
    Answer,
    Deliver,
    Event,
    Hold,
    Proceed,
    Reading,
    Refuse,
    RequestBody,
    RequestHeaders,
    ResponseBody,
    ResponseHeaders,
    ResponseTrailers,
)
from headrace.ext_proc.core.headers import Headers
from headrace.ext_proc.core.json_body import parse, parse_lenient, put, render
from headrace.ext_proc.core.needs import RESPONSE, Capability, Needs
from headrace.ext_proc.core.pending import Pending
from headrace.ext_proc.core.request import Request, Response
from headrace.ext_proc.core.seats import Ask, FilterFailed, Resolution, Seated, Shield, drain, failure, through
from headrace.ext_proc.core.session import POLICY, EndStream, Link, Policy
from headrace.ext_proc.core.sse import SseEvent, SseParser
from headrace.ext_proc.core.traceparent import HEADER as TRACEPARENT
from headrace.ext_proc.core.traceparent import traceparent_of
from headrace.ext_proc.core.usage import UsageMeter
from headrace.ext_proc.core.verdict import NO_EDITS, Edits, Reply

MAX_ANSWER = 64 * 1024 * 1024
"""Bytes of an answer that is collected whole; it is held in memory."""

READS_ANSWER = Needs.RESPONSE_BODY | Needs.RESPONSE_STREAM


class State(Enum):
    START = "start"
    AWAIT_BODY = "awaiting the request body"
    AWAIT_RESPONSE = "awaiting the response"
    COLLECTING = "collecting the answer"
    STREAMING = "streaming the answer"
    DONE = "done"
    CLOSED = "closed"


Flow = Generator[Ask, Resolution, Answer]


class Exchange:
    """Drive it with `step` of the engine: receive, then next_ask and resolve until there is none, then answer.

    id: unique; it names the lease, too. policy: pinned for the exchange's life. shield: runs the filters' sync hooks.
    """

    def __init__(self, id: str, policy: Policy, shield: Shield, *, capabilities: Capability = Capability.NOTHING) -> None:
        self.id = id
        self.state = State.START
        self.decision = Decision(id, policy.revision)
        self._policy = policy
        self._shield = shield
        self._capabilities = capabilities
        self._request: Request
        self._response: Response
        self._seats: list[Seated] = []
        self._watchers: Sequence[Seated] = ()
        self._pending = Pending()
        self._meter = UsageMeter()
        self._parser = SseParser()
        self._body = bytearray()
        self._cause: Cause | None = None
        self._status: int | None = None
        self._forwarded = False
        self._flow: Flow | None = None
        self._ask: Ask | None = None
        self._answer: Answer = Hold()

    # --- the driver's side -------------------------------------------------------------------------------------------------

    def receive(self, event: Event) -> None:
        """Raises ProtocolError when this state does not allow the event."""
        row = _TABLE.get((self.state, type(event)))
        if row is None:
            raise ProtocolError(f"{type(event).__name__} came while {self.state.value}")
        result = row(self, event)
        if isinstance(result, Generator):
            self._flow = result
            self._advance(None)
        else:
            self._answer = result

    def next_ask(self) -> Ask | None:
        """The question that stands between the event and its answer, or None."""
        return self._ask

    def resolve(self, resolution: Resolution) -> None:
        """Answers the ask."""
        self._advance(resolution)

    def answer(self) -> Answer:
        """The answer to the last event received; only when next_ask() is None."""
        return self._answer

    def close(self, cause: Cause = Cause.ABORTED) -> Sequence[Effect]:
        """Ends the exchange: `cause` unless it had ended by itself. The effects come once; every further call gives none."""
        if self.state is State.CLOSED:
            return ()
        self.state = State.CLOSED
        if self._flow is not None:
            self._flow.close()
        outcome = Outcome(self._cause or cause, self._status, self._meter.usage, self._meter.text, self._forwarded)
        effects = [effect for seat in reversed(self._seats) for effect in self._close_seat(seat, outcome)]
        return [*effects, self.decision.record(outcome)]

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

    # --- the request -------------------------------------------------------------------------------------------------------

    def _on_request_headers(self, event: RequestHeaders) -> Flow:
        headers = event.headers
        endpoint = endpoint_of(headers.get(":method"), headers.get(":path"))
        self._request = request = Request(self.id, headers, endpoint, capabilities=self._capabilities)
        self.decision.request(request)
        self._pending.strip_ours(headers)
        if endpoint is None:
            return self._other_path()
        if (parent := traceparent_of(headers)) is not None:
            self.decision.metadata[TRACEPARENT] = parent
        self._pending.remove("accept-encoding")  # an answer that is compressed is one that nobody can read usage from
        if (reply := (yield from self._enter(request))) is not None:
            return self._refuse(reply)
        if Needs.REQUEST_BODY not in self._needs():
            return (yield from self._finish_request())
        if _encoded(headers):
            return self._refuse(_ENCODED_REQUEST)
        self.state = State.AWAIT_BODY
        if event.end:
            return (yield from self._on_request_body(RequestBody(b"")))
        return Proceed(self._pending.take())

    def _other_path(self) -> Answer:
        if self._policy.refuse_other_paths:
            return self._refuse(_OTHER_PATH)
        self._pending.remove(*(name for name in self._policy.private_headers if name in self._request.headers))
        return self._hand_over(settle=None)

    def _enter(self, request: Request) -> Generator[Ask, Resolution, Reply | None]:
        for choice in self._policy.chain:
            try:
                link = self._shield(POLICY, partial(choice.choose, request))
            except FilterFailed:
                self.decision.failed(POLICY, "headers")
                return failure(POLICY)
            if link is not None and (reply := (yield from self._open(link, request))) is not None:
                return reply
        return None

    def _open(self, link: Link, request: Request) -> Generator[Ask, Resolution, Reply | None]:
        try:
            session = self._shield(link, partial(link.filter.open, request))
        except FilterFailed:
            self.decision.failed(link, "headers")
            return None if link.fail_open or link.shadow else failure(link)
        if session is None:
            return None
        seat = Seated(link, session, self._shield)
        self._seats.append(seat)
        if not seat.answers_headers:
            return None
        ask = seat.on_headers(request)
        return self._fold(ask, (yield ask))

    def _on_request_body(self, event: RequestBody) -> Flow:
        try:
            self._request.load(event.data, parse(event.data))
            self.decision.call(self._request.call)
        except BodyError as error:
            return self._refuse(_bad_body(error))
        return (yield from self._finish_request())

    def _finish_request(self) -> Flow:
        for seat in self._seats:
            if not seat.answers_request:
                continue
            ask = seat.on_request(self._request)
            if (reply := self._fold(ask, (yield ask))) is not None:
                return self._refuse(reply)
        needs = self._needs()
        if needs & RESPONSE:
            return self._await_response("stream" if needs & READS_ANSWER else "access_log")
        return self._hand_over(settle="access_log")

    def _await_response(self, settle: str) -> Answer:
        try:
            answer = self._proceed(settle)
        except BodyError as error:
            return self._refuse(_bad_body(error))
        self._forwarded = True
        self.state = State.AWAIT_RESPONSE
        return answer

    def _hand_over(self, *, settle: str | None) -> Answer:
        try:
            answer = self._proceed(settle, last=True)
        except BodyError as error:
            return self._refuse(_bad_body(error))
        self._forwarded = True
        self._end(Cause.HANDED_OFF)
        return answer

    def _proceed(self, settle: str | None, *, last: bool = False) -> Proceed:
        """Raises BodyError when the body cannot be written anew."""
        members = self._pending.members
        body = render(self._request.body, members) if members else None
        metadata = {"exchange": self.id, **self.decision.metadata} | ({"settle": settle} if settle else {})
        return Proceed(self._pending.take(), body, metadata, last=last)

    def _needs(self) -> Needs:
        needs = 0  # enum's own | costs a microsecond
        for seat in self._seats:
            needs |= seat.session.needs._value_
        return Needs(needs)

    # --- verdicts ----------------------------------------------------------------------------------------------------------

    def _fold(self, ask: Ask, resolution: Resolution) -> Reply | None:
        """Applies a verdict; gives the reply where it is one that counts."""
        self.decision.step(ask.link, ask.phase, resolution)
        verdict = resolution.verdict
        if isinstance(verdict, Reply):
            return None if ask.link.shadow else verdict
        self._request.facts.add(verdict.facts)
        self.decision.metadata.update(verdict.metadata)
        if ask.link.shadow or verdict.edits is NO_EDITS:
            return None
        try:
            self._apply(ask.phase, verdict.edits)
        except (LookupError, TypeError):  # refused also where the filter fails open: half of the edits may have been applied
            self.decision.failed(ask.link, ask.phase)
            return failure(ask.link)
        return None

    def _apply(self, phase: str, edits: Edits) -> None:
        """Raises LookupError or TypeError for a path that the document does not have."""
        self._pending.add(edits)
        if phase != "response":
            for edit in edits.members:
                self._request.apply(edit)
            return
        if edits.body is not None:
            self._response.body = edits.body
        for edit in edits.members:
            put(self._response.document, edit.path, edit.value)

    def _refuse(self, reply: Reply) -> Refuse:
        self._end(Cause.REFUSED)
        self.decision.reason = reply.reason
        headers = error_headers(reply, self.id)
        return Refuse(reply.status, headers, error_body(reply, self._request.dialect, self.id), reply.reason)

    def _end(self, cause: Cause) -> None:
        self._cause = cause
        self.state = State.DONE

    # --- the response ------------------------------------------------------------------------------------------------------

    def _on_response_headers(self, event: ResponseHeaders) -> Answer:
        self._status = event.status
        if event.end or not event.from_upstream:
            self._end(Cause.COMPLETED)
            return Proceed(last=True)
        is_stream = event.headers.get("content-type").lower().startswith("text/event-stream")
        self._response = Response(event.status, event.headers, is_stream=is_stream)
        if (Needs.RESPONSE_STREAM if is_stream else Needs.RESPONSE_BODY) not in self._needs():
            self._end(Cause.HANDED_OFF)
            return Proceed(metadata={"settle": "access_log"}, last=True)
        if _encoded(event.headers):
            return self._refuse(_ENCODED_ANSWER)
        return self._watch() if is_stream else self._collect()

    def _watch(self) -> Answer:
        self._watchers = [seat for seat in reversed(self._seats) if seat.watches_stream]
        self.state = State.STREAMING
        return Proceed(Edits(remove_headers=("content-length",)), read=Reading.STREAM)

    def _collect(self) -> Answer:
        self.state = State.COLLECTING
        return Proceed(read=Reading.WHOLE)

    def _on_early_response(self, event: ResponseHeaders) -> Answer:
        """The proxy replied by itself before the request was sent on: a path it refuses, a body too large, a client gone."""
        if event.from_upstream:
            raise ProtocolError("an upstream answered a request that was not sent to it")
        self._status = event.status
        self._end(Cause.ABORTED)
        return Proceed(last=True)

    def _on_collected(self, event: ResponseBody) -> Answer | Flow:
        self._body += event.data
        if len(self._body) > MAX_ANSWER:
            return self._refuse(_LARGE_ANSWER)
        return self._deliver(trailers=False) if event.end else Hold()

    def _on_collected_trailers(self, _: ResponseTrailers) -> Flow:
        return self._deliver(trailers=True)

    def _deliver(self, *, trailers: bool) -> Flow:
        response = self._response
        response.body = bytes(self._body)
        response.document = parse_lenient(response.body)
        self._meter.whole(response.document)
        for seat in reversed(self._seats):
            if not seat.answers_response:
                continue
            ask = seat.on_response(response)
            if (reply := self._fold(ask, (yield ask))) is not None:
                return self._refuse(reply)
        members = self._pending.members
        try:
            body = render(response.body, members) if members else response.body
        except BodyError:
            return self._refuse(_BROKEN_ANSWER)
        self._end(Cause.COMPLETED)
        return Deliver(body, not trailers, self._pending.take(), trailers, same=body == self._body)

    def _on_chunk(self, event: ResponseBody) -> Answer:
        return self._pass_on(event.data, end=event.end, trailers=False)

    def _on_stream_trailers(self, _: ResponseTrailers) -> Answer:
        return self._pass_on(b"", end=True, trailers=True)

    def _pass_on(self, data: bytes, *, end: bool, trailers: bool) -> Answer:
        out: list[bytes] = []
        try:
            for event in self._events(data, end=end):
                out += [passed.raw for passed in through(self._watchers, event)]
            if end:
                out += [held.raw for held in drain(self._watchers)]
                self._end(Cause.COMPLETED)
        except EndStream as cut:
            return self._cut(out, cut.reply)
        except StreamError as error:
            return self._cut(out, Reply(502, "response.unreadable", f"The upstream's stream could not be read: {error}."))
        return Deliver(b"".join(out), end and not trailers, trailers=trailers)

    def _events(self, data: bytes, *, end: bool) -> Sequence[SseEvent]:
        events = self._parser.feed(data)
        if end:
            events += self._parser.finish()
        for event in events:
            self._meter.event(event)
        return events

    def _cut(self, out: list[bytes], reply: Reply) -> Deliver:
        self._end(Cause.CUT)
        self.decision.reason = reply.reason
        out.append(error_event(reply, self._request.dialect, self.id).raw)
        return Deliver(b"".join(out), end=True)

    def _ignore(self, _: Event) -> Answer:
        """The rest of an answer that we ended."""
        return Hold()


def _encoded(headers: Headers) -> bool:
    return any(value.strip().lower() not in ("", "identity") for value in headers.get_all("content-encoding"))


def _bad_body(error: BodyError) -> Reply:
    return Reply(error.status, error.reason, error.message[:1].upper() + error.message[1:] + ".", param=error.param)


_ENCODED_REQUEST = Reply(415, "body.encoded", "The request body is compressed. Send it without a content-encoding.")
_ENCODED_ANSWER = Reply(502, "response.encoded", "The upstream compressed an answer that the gateway must read.")
_LARGE_ANSWER = Reply(502, "response.too_large", f"The upstream's answer is larger than {MAX_ANSWER} bytes.")
_BROKEN_ANSWER = Reply(502, "response.unreadable", "The upstream's answer is no JSON that the gateway could write anew.")
_OTHER_PATH = Reply(404, "path.not_allowed", "This gateway does not serve this path.")

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
