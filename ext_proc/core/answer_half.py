"""The answer's half of an exchange: read whole or event by event, changed, replaced, or cut."""

from collections.abc import Callable, Generator, Sequence
from functools import partial

from headrace.ext_proc.core.course import Course, Flow, State, is_encoded
from headrace.ext_proc.core.dialect import error_event
from headrace.ext_proc.core.effects import Cause
from headrace.ext_proc.core.errors import BodyError, StreamError
from headrace.ext_proc.core.events import (
    Answer,
    Deliver,
    Event,
    Hold,
    Proceed,
    Reading,
    ResponseBody,
    ResponseHeaders,
    ResponseTrailers,
)
from headrace.ext_proc.core.json_body import parse_lenient, render, written
from headrace.ext_proc.core.needs import Needs
from headrace.ext_proc.core.request import Response
from headrace.ext_proc.core.seats import Ask, Resolution, Seated, drain, failure, through
from headrace.ext_proc.core.session import EndStream, Policy
from headrace.ext_proc.core.sse import SseEvent, SseParser
from headrace.ext_proc.core.verdict import Edits, Reply

MAX_ANSWER = 64 * 1024 * 1024
"""Bytes of an answer that is collected whole; it is held in memory."""


class AnswerHalf(Course):
    """Begins with the answer's headers, where a session has an interest in it."""

    def __init__(self, id: str, policy: Policy) -> None:
        super().__init__(id, policy)
        self._watchers: Sequence[Seated] = ()
        self._may_wait = False
        """Whether one of them may want a pause between two events."""
        self._parser: SseParser
        self._body: bytearray

    def _on_response_headers(self, event: ResponseHeaders) -> Answer:
        self._status, self._upstream, self._server = event.status, event.upstream, event.server
        if event.end or not event.from_upstream:
            self._end(Cause.COMPLETED)
            return Proceed(last=True)
        is_stream = event.headers.get("content-type").lower().startswith("text/event-stream")
        self._response = Response(event.status, event.headers, is_stream=is_stream)
        if not self._needs_any(Needs.RESPONSE_STREAM if is_stream else Needs.RESPONSE_BODY):
            self._end(Cause.HANDED_OFF)
            return Proceed(metadata=self._settling("access_log"), last=True)
        if is_encoded(event.headers):
            return self._refuse(_ENCODED_ANSWER)
        return self._watch() if is_stream else self._collect()

    def _watch(self) -> Answer:
        self._watchers = [seat for seat in reversed(self._seats) if seat.watches_stream]
        self._may_wait = any(seat.may_wait for seat in self._watchers)
        self._parser = SseParser()
        self.state = State.STREAMING
        return Proceed(Edits(remove_headers=("content-length",)), read=Reading.STREAM)

    def _collect(self) -> Answer:
        self._body = bytearray()
        self.state = State.COLLECTING
        return Proceed(read=Reading.WHOLE)

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
        endpoint = self._request.endpoint
        self._meter.whole(response.document, has_answer=endpoint is None or endpoint.has_answer)
        for seat in reversed(self._seats):
            if not seat.answers_response:
                continue
            ask = seat.on_response(response)
            if (reply := self._fold(ask, (yield ask))) is not None:
                return self._refuse(reply)
        body = self._rewritten(response)
        self._end(Cause.COMPLETED)
        return Deliver(body, not trailers, self._pending.take(), trailers, same=body == self._body)

    def _rewritten(self, response: Response) -> bytes:
        """The body with the edits of its members, which its document has already."""
        members = self._pending.members
        try:
            return render(response.body, members) if members else response.body
        except BodyError:  # the document was read leniently
            return written(response.document)

    def _on_chunk(self, event: ResponseBody) -> Answer | Flow:
        return self._pass_on(event.data, end=event.end, trailers=False)

    def _on_stream_trailers(self, _: ResponseTrailers) -> Answer | Flow:
        return self._pass_on(b"", end=True, trailers=True)

    def _pass_on(self, data: bytes, *, end: bool, trailers: bool) -> Answer | Flow:
        try:
            events = self._parser.feed(data)
            if end:
                events += self._parser.finish()
        except StreamError as error:
            return self._cut([], Reply(502, "response.unreadable", f"The upstream's stream could not be read: {error}."))
        if self._may_wait or self._away_for(max([len(event.raw) for event in events], default=0)):
            return self._paced(events, end=end, trailers=trailers)
        out: list[bytes] = []
        try:
            for event in events:
                self._put_through(event, out)
            if end:
                self._drain(out)
            return self._delivered(out, end=end, trailers=trailers)
        except EndStream as cut:
            return self._cut(out, cut.reply)

    def _paced(self, events: Sequence[SseEvent], *, end: bool, trailers: bool) -> Flow:
        """As above, where a session may have to wait between two events."""
        out: list[bytes] = []
        try:
            for event in events:
                if (reply := (yield from self._caught_up())) is not None:
                    return self._cut(out, reply)
                yield from self._elsewhere(len(event.raw), partial(self._put_through, event, out))
            if end:
                yield from self._elsewhere(0, partial(self._drain, out))
            return self._delivered(out, end=end, trailers=trailers)
        except EndStream as cut:
            return self._cut(out, cut.reply)

    def _caught_up(self) -> Generator[Ask, Resolution, Reply | None]:
        """Waits for the sessions that are behind. The reply that ends the stream, if one is to."""
        for seat in self._watchers:
            if seat.session.behind:
                ask = seat.catch_up()
                if (reply := self._waited(ask, (yield ask))) is not None:
                    return reply
        return None

    def _away_for(self, size: int) -> Seated | None:
        """A seat that wants an event of so many bytes to be dealt with elsewhere."""
        for seat in self._watchers:
            if seat.session.away is not None and size >= seat.session.away_from:
                return seat
        return None

    def _elsewhere(self, size: int, work: Callable[[], None]) -> Generator[Ask, Resolution, None]:
        """Does `work`, for an event of so many bytes, where a session wants it done, or here. Raises EndStream."""
        seat = self._away_for(size)
        if seat is None:
            work()
            return
        cuts: list[EndStream] = []
        resolution = yield seat.away(work, cuts.append)
        if cuts:
            raise cuts[0]
        if resolution.error:  # also where the filter fails open: the work may still go on, so nothing may follow it
            raise EndStream(failure(seat.link))

    def _waited(self, ask: Ask, resolution: Resolution) -> Reply | None:
        """The reply that ends the stream. A stream that goes on leaves one trace at most: it may wait a thousand times."""
        verdict, link = resolution.verdict, ask.link
        if isinstance(verdict, Reply) and not link.shadow:
            return self._fold(ask, resolution)
        if isinstance(verdict, Reply):
            self.decision.passed_over(link, "would_reply", verdict.reason)
        elif resolution.error:
            self.decision.passed_over(link, "failed", f"{link.name}.failed")
        return None

    def _put_through(self, event: SseEvent, out: list[bytes]) -> None:
        """Raises EndStream."""
        self._meter.event(event)
        out += [passed.raw for passed in through(self._watchers, event)]

    def _drain(self, out: list[bytes]) -> None:
        """Raises EndStream."""
        out += [held.raw for held in drain(self._watchers)]

    def _delivered(self, out: list[bytes], *, end: bool, trailers: bool) -> Deliver:
        if end:
            self._end(Cause.COMPLETED)
        return Deliver(b"".join(out), end and not trailers, trailers=trailers)

    def _cut(self, out: list[bytes], reply: Reply) -> Deliver:
        self._end(Cause.CUT)
        self.decision.reason = reply.reason
        out.append(error_event(reply, self._request.dialect, self.id).raw)
        return Deliver(b"".join(out), end=True)

    def _ignore(self, _: Event) -> Answer:
        """The rest of an answer that we ended."""
        return Hold()


_ENCODED_ANSWER = Reply(502, "response.encoded", "The upstream compressed an answer that the gateway must read.")
_LARGE_ANSWER = Reply(502, "response.too_large", f"The upstream's answer is larger than {MAX_ANSWER} bytes.")
