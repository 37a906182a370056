"""What a filter is: built once per policy revision, it opens one session per exchange."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from headrace.ext_proc.core.effects import Effect, Outcome
from headrace.ext_proc.core.needs import Needs
from headrace.ext_proc.core.request import Request, Response
from headrace.ext_proc.core.sse import SseEvent
from headrace.ext_proc.core.verdict import PASS, Reply, Verdict


class EndStream(Exception):
    """Raised by `on_event` and `on_stream_end`: the stream ends here, with `reply` as its last event in the caller's dialect."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(reply.reason)
        self.reply = reply


class Session:
    """One filter's part in one exchange; override what you need.

    `needs` is read after each hook of the request: a session that finds nothing in the prompt may drop its needs of the answer.
    """

    needs: Needs = Needs.NOTHING
    joins: Needs = Needs.NOTHING
    """What this session takes part in when it passes through anyway, without asking for it."""

    behind: bool = False
    """Set by `on_event`: `catch_up` is awaited before the stream goes on."""

    away: Callable[[Callable[[], None]], Awaitable[None]] | None = None
    """Where the hooks of a stream are run, those of other sessions as well, if not on the event loop: a thread, because this one
    waits for another process, or has much to do. None: they are always run on the event loop."""

    away_from: int = 0
    """The least event, in bytes, for which they are run there; read before each. 0: for all, and for the end of the stream."""

    async def on_headers(self, request: Request) -> Verdict:
        """The request headers have come; the body has not."""
        return PASS

    async def on_request(self, request: Request) -> Verdict:
        """The request is complete: with its body where any session needs it."""
        return PASS

    async def on_response(self, response: Response) -> Verdict:
        """An answer that is no stream, whole. A `Reply` replaces it."""
        return PASS

    def on_event(self, event: SseEvent) -> Sequence[SseEvent]:
        """What goes out in place of one event of a stream. Sync: per-chunk code never waits. May raise EndStream."""
        return (event,)

    async def catch_up(self) -> Verdict:
        """What a stream must wait for now and then, such as a call to the store; asked only while `behind`. A `Reply` ends it."""
        return PASS

    def on_stream_end(self) -> Sequence[SseEvent]:
        """What was held back when the stream ended. May raise EndStream."""
        return ()

    def close(self, outcome: Outcome) -> Sequence[Effect]:
        """Exactly once, however the exchange ends."""
        return ()


class Filter(Protocol):
    """Shared by every exchange of its policy revision, never mutated by one."""

    def open(self, request: Request) -> Session | None:
        """This filter's session, or None: costs this exchange nothing."""
        ...


@dataclass(frozen=True, slots=True)
class Link:
    """A filter's place in the chain, as the policy set it for a request."""

    name: str
    filter: Filter
    shadow: bool = False
    """Verdicts are recorded, not applied."""
    fail_open: bool = False
    """A filter that fails is passed over, instead of refusing."""
    timeout_ms: int = 1000


class _NoFilter:
    def open(self, request: Request) -> Session | None:
        return None


POLICY = Link("policy", _NoFilter())
"""Stands for the policy itself where choosing a link fails."""


class Choice(Protocol):
    """One place in a policy's chain: which link serves this request, given the facts so far. None: off.

    What it raises refuses the request.
    """

    def choose(self, request: Request) -> Link | None: ...


class Policy(Protocol):
    """What an exchange needs of a compiled policy; it pins one for its life."""

    @property
    def revision(self) -> str: ...

    @property
    def chain(self) -> Sequence[Choice]: ...

    def passes(self, method: str, path: str) -> bool:
        """Whether a request that is no LLM call goes on."""
        ...

    @property
    def private_headers(self) -> Sequence[str]:
        """Names (lower case) of headers that go no further on paths that no filter is asked about."""
        ...
