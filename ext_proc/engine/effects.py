"""Carries out effects: settlements and releases to the store, records to whoever observes. Bounded, retried, drained."""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from itertools import count, islice
from secrets import token_hex

from headrace.ext_proc.core.effects import Effect, Record, Settle
from headrace.ext_proc.core.ports import Clock, Store, StoreUnavailable
from headrace.ext_proc.engine.bookkeeping import Money, closing_of, record_of, settled, warning_of
from headrace.ext_proc.engine.guard import told

log = logging.getLogger(__name__)

Observer = Callable[[Record], None]

QUEUE = 65_536
"""Settlements that may wait, a few hundred bytes each: half a minute of a busy worker while the store is away."""

AT_ONCE = 64
"""Settlements in one call, which holds up the store's other callers for about a millisecond."""

FIRST_RETRY, LAST_RETRY = 0.05, 5.0
"""Seconds between tries. A settlement is tried until the runner stops. The store carries it out once and answers each try alike."""


class EffectRunner:
    """One per worker. A settlement that is dropped leaves its lease to expire at the reserved amount: never undercharged.

    What one organisation settles goes out in one call after the other, so that what gathers meanwhile goes together; an
    organisation whose part of the store is away holds up no other.

    observers: called with every record, on the loop; they must not wait. One that fails is reported, and the others hear of it all.
    """

    def __init__(self, store: Store, clock: Clock, observers: Sequence[Observer] = (), *, queue: int = QUEUE) -> None:
        self._store = store
        self._clock = clock
        self._observers = observers
        self._queue = queue
        self._waiting: dict[str, deque[Money]] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._name, self._batches = token_hex(4), count()
        self.depth = 0
        """Settlements that are not in the store yet."""
        self.dropped = 0

    def submit(self, effects: Sequence[Effect]) -> None:
        """Takes effects, on the loop; never waits. A settlement that finds the queue full is dropped and counted."""
        for effect in effects:
            if isinstance(effect, Record):
                self._observe(effect)
            elif isinstance(effect, Settle) and effect.lease is None:
                self._observe(record_of(effect, "unbudgeted"))
            elif self.depth >= self._queue:
                self._drop(effect)
            else:
                self._enqueue(effect)

    def _enqueue(self, effect: Money) -> None:
        organisation = effect.organisation
        self.depth += 1
        self._waiting.setdefault(organisation, deque()).append(effect)
        if organisation not in self._tasks:
            self._tasks[organisation] = asyncio.create_task(self._settle(organisation), name=f"settle-{organisation}")

    async def drain(self, seconds: float) -> None:
        """Waits until all is carried out, `seconds` at most; what is left then is dropped and counted."""
        try:
            async with asyncio.timeout(seconds):
                while self._tasks:
                    await asyncio.wait(self._tasks.values())
        except TimeoutError:
            log.error("settlements left behind", extra={"count": self.depth})
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for effect in [effect for waiting in self._waiting.values() for effect in waiting]:
            self._drop(effect)
        self._waiting, self.depth = {}, 0

    def _drop(self, effect: Money) -> None:
        self.dropped += 1
        self._observe(record_of(effect, "dropped"))

    def _observe(self, record: Record) -> None:
        told(self._observers, record)

    async def _settle(self, organisation: str) -> None:
        """Until nothing waits. What is under way stays in the queue until it is done: whoever drains it finds it there."""
        waiting = self._waiting[organisation]
        try:
            while batch := list(islice(waiting, AT_ONCE)):
                await self._carry_out(organisation, batch)
                for _ in batch:
                    waiting.popleft()
                self.depth -= len(batch)
            del self._waiting[organisation]
        finally:
            del self._tasks[organisation]

    async def _carry_out(self, organisation: str, batch: Sequence[Money]) -> None:
        pause, by = FIRST_RETRY, f"{self._name}-{next(self._batches)}"
        while True:
            try:
                await self._send(organisation, batch, by)
                return
            except StoreUnavailable:
                await asyncio.sleep(pause)
                pause = min(pause * 2, LAST_RETRY)
            except (ValueError, ArithmeticError) as error:  # amounts or names that no store takes; a retry would not change them
                await self._one_by_one(organisation, batch, error)
                return

    async def _one_by_one(self, organisation: str, batch: Sequence[Money], error: Exception) -> None:
        """The others of a batch must not suffer for one that is refused."""
        if len(batch) > 1:
            for effect in batch:
                await self._carry_out(organisation, [effect])
            return
        log.error("settlement refused", extra={"lease": batch[0].lease, "detail": str(error)})
        self._drop(batch[0])

    async def _send(self, organisation: str, batch: Sequence[Money], by: str) -> None:
        """by: the same at each try. Raises StoreUnavailable and ValueError as the store does."""
        now_ms = self._clock.now_ms()
        closings = [closing_of(effect, f"{by}.{place}") for place, effect in enumerate(batch)]
        answers = await self._store.settle_many(organisation, closings, now_ms=now_ms)
        for effect, closed in zip(batch, answers, strict=True):
            self._observe(settled(effect, closed))
            for reached in closed.reached:
                self._observe(warning_of(organisation, reached, now_ms))
