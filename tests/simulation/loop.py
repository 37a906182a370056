"""An event loop without a clock of its own, without I/O and without threads: time passes when nothing else is to be done."""

import asyncio
import contextlib
import heapq
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context, ContextVar
from typing import Any, Protocol

from tests.simulation.chance import Lane


class Owner(Protocol):
    """A process. What belongs to one that is not alive is never run again, as after a kill -9."""

    alive: bool


OWNER: ContextVar[Owner | None] = ContextVar("owner", default=None)

SHUFFLED = 0.2
"""How often another than the first of those that are ready is run, of the turns that have a choice."""
SLOW_TURN = 0.01
"""How often a turn takes so long that timers come first."""
SLOW_TURN_MS = 700


class OwnedTask(asyncio.Task[Any]):
    """A task that knows whose it is."""

    owner: Owner | None = None


class VirtualLoop(asyncio.BaseEventLoop):
    """Runs one handle a step, which one `order` says. limit: steps, after which the run is taken for endless."""

    def __init__(self, order: Lane, limit: int) -> None:
        super().__init__()
        self.steps = 0
        self.tasks: list[OwnedTask] = []
        """All there ever were: a task that nobody refers to would be collected, and its coroutine closed."""
        self.after: Callable[[], None] = lambda: None
        """Called after every step."""
        self.endless = False
        self._burying = False
        self._forgone: list[asyncio.Handle] = []
        """What dead processes did not live to see."""
        self._order = order
        self._limit = limit
        self._now = 0.0
        self._ready: deque[asyncio.Handle] = deque()
        self._scheduled: list[asyncio.TimerHandle] = []
        self.set_task_factory(self._task)  # type: ignore[arg-type]  # its stub wants any future

    def bury(self) -> None:
        """Ends every task, so that none is ended by whoever collects garbage; those of the dead have their steps for it."""
        self._burying = True
        self._ready.extend(self._forgone)
        self._limit = self.steps + self._limit
        while (left := [task for task in self.tasks if not task.done()]) and self.steps < self._limit:
            for task in left:  # the end of one may begin another
                task.cancel()
            self.call_later(1.0, self.stop)
            self.run_forever()
        for task in self.tasks:
            with contextlib.suppress(asyncio.CancelledError, asyncio.InvalidStateError):
                task.exception()
        self.close()

    def time(self) -> float:
        return self._now

    def _task(self, _: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, Any], context: Context | None = None) -> OwnedTask:
        task = OwnedTask(coroutine, loop=self, context=context)
        task.owner = context.get(OWNER) if context is not None else OWNER.get()
        self.tasks.append(task)
        return task

    def _run_once(self) -> None:
        ready = self._ready
        if not ready:
            self._wait()
        elif self._scheduled and self._order.happens(SLOW_TURN, "a slow turn"):
            self._pass(self._now + self._order.ms(SLOW_TURN_MS, 1.0, "lasts"))
        if len(ready) > 1 and (index := self._order.pick(len(ready), SHUFFLED, "out of order")):
            handle = ready[index]
            del ready[index]
        elif ready:
            handle = ready.popleft()
        else:
            return
        self._run(handle)

    def _run(self, handle: asyncio.Handle) -> None:
        if handle._cancelled:
            return
        owner = handle._context.get(OWNER)  # type: ignore[attr-defined]  # asyncio's own loops read it, too
        if owner is not None and not owner.alive and not self._burying:
            self._forgone.append(handle)
            return
        self.steps += 1
        if self.steps > self._limit:
            self.endless = True
            self.stop()
        handle._run()
        self.after()

    def _wait(self) -> None:
        """Nothing is ready: the next timer is due."""
        while self._scheduled and self._scheduled[0]._cancelled:
            heapq.heappop(self._scheduled)
        if self._scheduled:
            self._pass(self._scheduled[0].when())
        else:
            self.endless = True
            self.stop()

    def _pass(self, now: float) -> None:
        """It is `now`: what is due by now is ready."""
        self._now = max(self._now, now)
        scheduled = self._scheduled
        while scheduled and scheduled[0].when() <= self._now:
            timer = heapq.heappop(scheduled)
            timer._scheduled = False  # type: ignore[attr-defined]  # as asyncio's own loops do
            self._ready.append(timer)

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """It stays in the heap until its time has come."""
