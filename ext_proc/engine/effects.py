"""Carries out effects: settlements and releases to the store, records to whoever observes. Bounded, retried, drained."""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, assert_never

from headrace.ext_proc.core.effects import Effect, Record, Release, Settle
from headrace.ext_proc.core.ports import Clock, Store, StoreUnavailable
from headrace.ext_proc.engine.guard import told
from headrace.ext_proc.engine.prices import spent_of, usd

log = logging.getLogger(__name__)

Observer = Callable[[Record], None]
Money = Settle | Release

QUEUE = 65_536
"""Settlements that may wait, a few hundred bytes each: half a minute of a busy worker while the store is away."""

AT_ONCE = 32
"""Settlements under way at once. The store sends what is due in one loop tick as one pipeline, so more would not be faster."""

FIRST_RETRY, LAST_RETRY = 0.05, 5.0
"""Seconds between tries. A settlement is tried until the runner stops; it is idempotent by its lease."""


class EffectRunner:
    """One per worker. A settlement that is dropped leaves its lease to expire at the reserved amount: never undercharged.

    observers: called with every record, on the loop; they must not wait. One that fails is reported, and the others hear of it all.
    """

    def __init__(self, store: Store, clock: Clock, observers: Sequence[Observer] = (), *, queue: int = QUEUE) -> None:
        self._store = store
        self._clock = clock
        self._observers = observers
        self._queue: asyncio.Queue[Money] = asyncio.Queue(queue)
        self._tasks: list[asyncio.Task[None]] = []
        self._running = 0
        self.dropped = 0

    @property
    def depth(self) -> int:
        """Settlements that are not in the store yet."""
        return self._queue.qsize() + self._running

    async def start(self) -> None:
        self._tasks = [asyncio.create_task(self._work(), name=f"settle-{index}") for index in range(AT_ONCE)]

    def submit(self, effects: Sequence[Effect]) -> None:
        """Takes effects; never waits. A settlement that finds the queue full is dropped and counted."""
        for effect in effects:
            if isinstance(effect, Record):
                self._observe(effect)
                continue
            try:
                self._queue.put_nowait(effect)
            except asyncio.QueueFull:
                self._drop(effect)

    async def drain(self, seconds: float) -> None:
        """Waits until all is carried out, `seconds` at most; what is left then is dropped and counted."""
        try:
            async with asyncio.timeout(seconds):
                await self._queue.join()
        except TimeoutError:
            log.error("settlements left behind", extra={"count": self.depth})
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        while not self._queue.empty():
            self._drop(self._queue.get_nowait())

    def _drop(self, effect: Money) -> None:
        self.dropped += 1
        self._observe(_record(effect, "dropped", {}))

    def _observe(self, record: Record) -> None:
        for observer in self._observers:
            told(observer, record)

    async def _work(self) -> None:
        while True:
            effect = await self._queue.get()
            self._running += 1
            try:
                await self._carry_out(effect)
            except asyncio.CancelledError:  # drained: nobody tries it again
                self._drop(effect)
                raise
            finally:
                self._running -= 1
                self._queue.task_done()

    async def _carry_out(self, effect: Money) -> None:
        pause = FIRST_RETRY
        while True:
            try:
                self._observe(await self._send(effect))
                return
            except StoreUnavailable:
                await asyncio.sleep(pause)
                pause = min(pause * 2, LAST_RETRY)
            except ValueError as error:  # amounts or names that no store takes; a retry would not change them
                log.error("settlement refused", extra={"lease": effect.lease, "detail": str(error)})
                self._drop(effect)
                return

    async def _send(self, effect: Money) -> Record:
        """Raises StoreUnavailable and ValueError as the store does."""
        now = self._clock.now_ms()
        match effect:
            case Settle(lease=None):
                return _record(effect, "unbudgeted", _money(effect))
            case Settle():
                assert effect.lease is not None, "the case before"
                spent = spent_of(effect.usage, effect.price) if effect.usage else {}
                applied = await self._store.settle(effect.organisation, effect.lease, spent, now_ms=now)
                return _record(effect, ("settled" if effect.usage else "kept") if applied else "unknown_lease", _money(effect))
            case Release():
                applied = await self._store.release(effect.organisation, effect.lease, now_ms=now)
                return _record(effect, "released" if applied else "unknown_lease", {})
            case _:
                assert_never(effect)


def _record(effect: Money, outcome: str, more: Mapping[str, Any]) -> Record:
    known = {"exchange": effect.lease, "organisation": effect.organisation} if effect.lease else {}
    return Record("settlement", {**known, **effect.context, **more, "outcome": outcome})


def _money(effect: Settle) -> Mapping[str, Any]:
    """usage as tokens; usd as a decimal string."""
    if effect.usage is None:
        return {}
    cost = usd(effect.usage, effect.price)
    return {"usage": effect.usage.members} | ({} if cost is None else {"usd": str(cost)})
