"""The sessions of one exchange at their places in the chain, and what an answer's events become on the way through them."""

from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any, ParamSpec, Protocol, TypeVar

from msgspec import Struct

from headrace.ext_proc.core.effects import Effect, Outcome
from headrace.ext_proc.core.errors import HeadraceError
from headrace.ext_proc.core.needs import Needs
from headrace.ext_proc.core.request import Request, Response
from headrace.ext_proc.core.session import EndStream, Link, Session
from headrace.ext_proc.core.sse import SseEvent
from headrace.ext_proc.core.verdict import PASS, Reply, Verdict

P = ParamSpec("P")
T = TypeVar("T")


class FilterFailed(HeadraceError):
    """A filter's sync hook raised something that nobody expected."""


class Shield(Protocol):
    """Runs a sync hook. Raises FilterFailed for whatever it raises, EndStream excepted; the engine's guard implements it."""

    def __call__(self, link: Link, hook: Callable[P, T], *args: P.args, **named: P.kwargs) -> T: ...


class Ask(Struct, frozen=True):
    """A question for one filter; the engine awaits it and resolves the exchange with the answer."""

    link: Link
    phase: str
    run: Callable[[], Coroutine[Any, Any, Verdict]]


class Resolution(Struct, frozen=True):
    """An answer to an Ask. error: the failure's type, when `verdict` stands in for a filter that failed."""

    verdict: Verdict
    elapsed_us: float = 0.0
    error: str | None = None


def failure(link: Link) -> Reply:
    """What the caller is told when a filter that fails closed has failed."""
    message = f"The gateway's {link.name} check could not be completed, so the request was refused. Please try again."
    return Reply(503, f"{link.name}.failed", message, retry_after=1)


class Seated(Struct, frozen=True):
    """A link whose filter opened a session.

    What a hook returns is gone through inside the shield: a filter may write a hook as a generator. passed_over: hears of what a
    filter in shadow, or one that fails open, would have done to a stream: link, outcome, reason.
    """

    link: Link
    session: Session
    shield: Shield
    passed_over: Callable[[Link, str, str], None]

    @property
    def answers_headers(self) -> bool:
        """False where on_headers is the default: nothing to ask."""
        return type(self.session).on_headers is not Session.on_headers

    @property
    def answers_request(self) -> bool:
        return type(self.session).on_request is not Session.on_request

    @property
    def answers_response(self) -> bool:
        return type(self.session).on_response is not Session.on_response and self._sees(Needs.RESPONSE_BODY)

    @property
    def watches_stream(self) -> bool:
        return self._sees(Needs.RESPONSE_STREAM)

    @property
    def may_wait(self) -> bool:
        return self.watches_stream and type(self.session).catch_up is not Session.catch_up

    def _sees(self, part: Needs) -> bool:
        return part in self.session.needs or part in self.session.joins

    def on_headers(self, request: Request) -> Ask:
        return Ask(self.link, "headers", partial(self.session.on_headers, request))

    def on_request(self, request: Request) -> Ask:
        return Ask(self.link, "request", partial(self.session.on_request, request))

    def on_response(self, response: Response) -> Ask:
        return Ask(self.link, "response", partial(self.session.on_response, response))

    def catch_up(self) -> Ask:
        return Ask(self.link, "stream", self.session.catch_up)

    def away(self, work: Callable[[], None], cut: Callable[[EndStream], None]) -> Ask:
        """Does `work` where the session wants it done; `cut` is told where it ends the stream."""

        def caught() -> None:
            try:
                work()
            except EndStream as end:
                cut(end)

        async def run() -> Verdict:
            assert self.session.away is not None, "only who wants to be elsewhere is asked"
            await self.session.away(caught)
            return PASS

        return Ask(self.link, "stream", run)

    def on_event(self, event: SseEvent) -> Sequence[SseEvent]:
        """Raises EndStream."""
        return self._hook(lambda: tuple(self.session.on_event(event)), (event,))

    def on_stream_end(self) -> Sequence[SseEvent]:
        """Raises EndStream."""
        return self._hook(lambda: tuple(self.session.on_stream_end()), ())

    def _hook(self, hook: Callable[[], Sequence[SseEvent]], unchanged: Sequence[SseEvent]) -> Sequence[SseEvent]:
        try:
            changed = self.shield(self.link, hook)
        except FilterFailed:
            if not (self.link.fail_open or self.link.shadow):
                raise EndStream(failure(self.link)) from None
            self.passed_over(self.link, "failed", f"{self.link.name}.failed")
            return unchanged
        except EndStream as cut:
            if not self.link.shadow:
                raise
            self.passed_over(self.link, "would_reply", cut.reply.reason)
            return unchanged
        return unchanged if self.link.shadow else changed

    def close(self, outcome: Outcome) -> Sequence[Effect]:
        """Raises FilterFailed."""
        if type(self.session).close is Session.close:
            return ()
        try:
            return self.shield(self.link, lambda: tuple(self.session.close(outcome)))
        except EndStream:  # there is none to end
            raise FilterFailed(self.link.name) from None


def through(seats: Sequence[Seated], event: SseEvent) -> Sequence[SseEvent]:
    """What becomes of one event on its way through `seats`, the one nearest the upstream first. Raises EndStream."""
    events: Sequence[SseEvent] = (event,)
    for seat in seats:
        events = [out for event in events for out in seat.on_event(event)]
    return events


def drain(seats: Sequence[Seated]) -> Sequence[SseEvent]:
    """What the seats held back, each one's rest passing through those after it. Raises EndStream."""
    events: list[SseEvent] = []
    for seat in seats:
        events = [out for event in events for out in seat.on_event(event)]
        events += seat.on_stream_end()
    return events
