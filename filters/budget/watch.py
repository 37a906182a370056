"""A stream whose lease grows with it, step by step and ahead of what is streamed; cut where no budget holds the next step."""

from collections.abc import Awaitable, Callable
from enum import Enum

from headrace.ext_proc.core.ledger import Admitted, Exhausted
from headrace.ext_proc.core.ports import StoreUnavailable
from headrace.ext_proc.core.sse import SseEvent
from headrace.ext_proc.core.usage import text_of, usage_in
from headrace.ext_proc.core.verdict import Reply
from headrace.filters.budget.words import UNAVAILABLE

Answer = Admitted | Exhausted | None

SMALLEST = 16
"""Tokens. A step that is refused is halved down to this, so that a stream is cut within so many tokens of the budget's end."""


class State(Enum):
    GROWING = "the next step can be asked for"
    OVER = "no budget holds more"
    LEFT_ALONE = "the store is away, and the policy lets streams go on"


class Watch:
    """Counts what is streamed, and has the lease hold it.

    held: tokens of answer that the lease holds at first. step: how many more are asked for at a time, half a step ahead.
    most: tokens that the request allows, beyond which nothing is asked for until more have come; None where it names no cap.
    extend: has the lease hold so many tokens in all. ended: the last event's reply, told why the lease does not grow.
    """

    def __init__(
        self,
        *,
        held: int,
        step: int,
        most: int | None,
        count: Callable[[str], int],
        extend: Callable[[int], Awaitable[Answer]],
        ended: Callable[[Exhausted | None], Reply],
        fails_open: bool,
    ) -> None:
        self._held = held
        self._step = step
        self._most = most
        self._count = count
        self._extend = extend
        self._ended = ended
        self._fails_open = fails_open
        self._state = State.GROWING
        self._reply = UNAVAILABLE
        self._tokens = 0

    def follow(self, event: SseEvent) -> Reply | None:
        """Counts what has come: usage that the provider reports on the way, else the words, no fewer than in one piece.

        The stream's end, where the lease does not hold it and will not.
        """
        document = event.json
        if isinstance(document, dict):
            if words := text_of(document):
                self._tokens += self._count(words)
            if (usage := usage_in(document)) is not None:
                self._tokens = max(self._tokens, usage.output_tokens)
        return self._reply if self._state is State.OVER and self._tokens > self._held else None

    @property
    def is_short(self) -> bool:
        """Whether the lease should grow now."""
        return self._state is State.GROWING and self._tokens > self._held - self._step // 2 and self._next > self._held

    @property
    def _next(self) -> int:
        """Tokens of answer that the lease should hold next."""
        wanted = max(self._held, self._tokens) + self._step
        return wanted if self._most is None or self._tokens > self._most else min(wanted, self._most)

    async def grow(self) -> None:
        """Half a step is how long the store may be away before a stream is cut, where the policy fails closed."""
        while self.is_short:
            tokens = self._next
            try:
                answer = await self._extend(tokens)
            except StoreUnavailable:
                self._unanswered()
                return
            self._answered(tokens, answer)

    def _answered(self, tokens: int, answer: Answer) -> None:
        if isinstance(answer, Admitted):
            self._held = tokens
        elif isinstance(answer, Exhausted) and self._step > SMALLEST:
            self._step = max(self._step // 2, SMALLEST)
        else:
            self._state, self._reply = State.OVER, self._ended(answer)

    def _unanswered(self) -> None:
        if self._fails_open:
            self._state = State.LEFT_ALONE
        elif self._tokens > self._held:
            self._state = State.OVER
