"""A stream whose lease grows with it, step by step and ahead of what is streamed; cut where no budget holds the next step."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from enum import Enum

from headrace.ext_proc.core.ledger import Admitted, Exhausted
from headrace.ext_proc.core.ports import StoreUnavailable
from headrace.ext_proc.core.session import EndStream
from headrace.ext_proc.core.sse import SseEvent
from headrace.ext_proc.core.usage import text_of, usage_in
from headrace.ext_proc.core.verdict import Reply
from headrace.filters.budget.words import UNAVAILABLE

Answer = Admitted | Exhausted | None

SMALLEST = 16
"""Tokens. A step that is refused is halved down to this, so that a stream is cut within so many tokens of the budget's end."""
TRIES = 3
"""Calls in a row that the store may leave unanswered before the stream is cut, where the policy fails closed."""
RETRY_S = 0.5


class State(Enum):
    GROWING = "the next step can be asked for"
    OVER = "no budget holds more"
    LEFT_ALONE = "the store is away, and the policy lets streams go on"


class Watch:
    """Counts what is streamed, and has the lease hold it.

    Nothing is held back while the store is asked: what the upstream has generated is spent, whoever gets to read it.

    held: tokens of answer that the lease holds at first. step: how many more are asked for at a time, half a step ahead.
    extend: has the lease hold so many tokens in all. ended: the last event's reply, told why the lease does not grow.
    """

    def __init__(
        self,
        *,
        held: int,
        step: int,
        count: Callable[[str], int],
        extend: Callable[[int], Awaitable[Answer]],
        ended: Callable[[Exhausted | None], Reply],
        fails_open: bool,
    ) -> None:
        self._held = held
        self._step = step
        self._count = count
        self._extend = extend
        self._ended = ended
        self._fails_open = fails_open
        self._state = State.GROWING
        self._reply = UNAVAILABLE
        self._tokens = 0
        self._failures = 0
        self._asking: asyncio.Task[None] | None = None

    def on_event(self, event: SseEvent) -> Sequence[SseEvent]:
        """Raises EndStream where the lease does not hold what has come, and will not."""
        self._follow(event)
        if self._state is State.OVER and self._tokens > self._held:
            raise EndStream(self._reply)
        if self._is_short and self._asking is None:
            self._asking = asyncio.create_task(self._ask())
        return (event,)

    def close(self) -> None:
        """An extension that is under way finds the lease settled, or is settled with it."""
        if self._asking is not None:
            self._asking.cancel()

    @property
    def _is_short(self) -> bool:
        return self._state is State.GROWING and self._tokens > self._held - self._step // 2

    def _follow(self, event: SseEvent) -> None:
        """What the provider reports on the way counts; else the words do, event by event: no fewer than in one piece."""
        document = event.json
        if not isinstance(document, dict):
            return
        if words := text_of(document):
            self._tokens += self._count(words)
        if (usage := usage_in(document)) is not None:
            self._tokens = max(self._tokens, usage.output_tokens)

    async def _ask(self) -> None:
        while self._is_short:
            tokens = max(self._held, self._tokens) + self._step
            try:
                self._answered(tokens, await self._extend(tokens))
            except StoreUnavailable:
                self._unanswered()
                await asyncio.sleep(RETRY_S)
        self._asking = None

    def _answered(self, tokens: int, answer: Answer) -> None:
        self._failures = 0
        if isinstance(answer, Admitted):
            self._held = tokens
        elif isinstance(answer, Exhausted) and self._step > SMALLEST:
            self._step = max(self._step // 2, SMALLEST)
        else:
            self._state, self._reply = State.OVER, self._ended(answer)

    def _unanswered(self) -> None:
        self._failures += 1
        if self._fails_open:
            self._state = State.LEFT_ALONE
        elif self._failures >= TRIES:
            self._state = State.OVER
