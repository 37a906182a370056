"""An event loop without a clock of its own, without I/O and without threads: time passes when nothing else is to be done."""

import asyncio
import contextlib
import gc
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextvars import Context, ContextVar, copy_context
from heapq import heappop, heappush
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


class Turn(asyncio.TimerHandle):
    """What is to be run, and whose it is. `asyncio.Handle` does the same and more, in half a dozen calls."""

    __slots__ = ("owner",)

    def __init__(self, loop: "VirtualLoop", callback: Callable[..., Any], args: tuple[Any, ...], context: Context | None) -> None:
        self._loop = loop
        self._callback: Callable[..., Any] | None = callback
        self._args: Sequence[Any] = args
        self._context = copy_context() if context is None else context
        self._cancelled = False
        self._repr = self._source_traceback = None
        self._when = 0.0
        self.owner = self._context.get(OWNER)

    def cancel(self) -> None:
        """It stays where it waits, until its time has come."""
        self._cancelled = True
        self._callback, self._args = None, ()


class VirtualLoop(asyncio.BaseEventLoop):
    """Runs one turn a step, which one `order` says. limit: steps, after which the run is taken for endless."""

    def __init__(self, order: Lane, limit: int) -> None:
        super().__init__()
        self.steps = 0
        self.kinds: Counter[str] | None = None
        """How many steps there were of each kind; None: nobody counts."""
        self.tasks: list[tuple[asyncio.Task[Any], Owner | None]] = []
        """All there ever were, and whose: a task that nobody refers to would be collected, and its coroutine closed."""
        self.after: Callable[[], None] = lambda: None
        """Called after every step."""
        self.endless = False
        self._burying = False
        self._forgone: list[Turn] = []
        """What dead processes did not live to see."""
        self._order = order
        self._limit = limit
        self._now = 0.0
        self._timers = 0
        self._ready: deque[Turn] = deque()
        self._scheduled: list[tuple[float, int, Turn]] = []
        """When each is due, and which was scheduled before the other."""

    def bury(self) -> None:
        """Ends every task, so that none is ended by whoever collects garbage; those of the dead have their steps for it."""
        self._burying = True
        self._ready.extend(self._forgone)
        self._limit = self.steps + self._limit
        while (left := [task for task, _ in self.tasks if not task.done()]) and self.steps < self._limit:
            for task in left:  # the end of one may begin another
                task.cancel()
            self.call_later(1.0, self.stop)
            self.run_forever()
        for task, _ in self.tasks:
            with contextlib.suppress(asyncio.CancelledError, asyncio.InvalidStateError):
                task.exception()
        self.close()

    # --- what asyncio asks of a loop, without what it does for files, threads and debugging; its stubs want generics -------

    def time(self) -> float:
        return self._now

    def call_soon(self, callback: Any, *args: Any, context: Context | None = None) -> Turn:  # type: ignore[override]
        turn = Turn(self, callback, args, context)
        self._ready.append(turn)
        return turn

    def call_at(self, when: float, callback: Any, *args: Any, context: Context | None = None) -> Turn:  # type: ignore[override]
        turn = Turn(self, callback, args, context)
        turn._when = when
        self._timers += 1
        heappush(self._scheduled, (when, self._timers, turn))
        return turn

    def call_later(self, delay: float, callback: Any, *args: Any, context: Context | None = None) -> Turn:  # type: ignore[override]
        return self.call_at(self._now + delay, callback, *args, context=context)

    def create_task(self, coroutine: Any, *, name: object = None, context: Context | None = None) -> "asyncio.Task[Any]":
        task = asyncio.Task(coroutine, loop=self, name=str(name or coroutine.__qualname__), context=context)
        self.tasks.append((task, OWNER.get() if context is None else context.get(OWNER)))
        return task

    async def sleep(self, seconds: float) -> None:
        """As asyncio's, which asks the operating system in which process it is."""
        over: asyncio.Future[None] = self.create_future()
        timer = self.call_later(seconds, _wake, over)
        try:
            await over
        finally:
            timer.cancel()

    # --- turns -------------------------------------------------------------------------------------------------------------

    def _run_once(self) -> None:
        """Turn after turn, until the loop is to stop."""
        ready, scheduled, order = self._ready, self._scheduled, self._order
        while not self._stopping:  # type: ignore[attr-defined]  # as asyncio's own loops do
            if not ready:
                self._wait()
            elif scheduled and order.pick(2, SLOW_TURN, "a slow turn"):
                self._pass(self._now + order.ms(SLOW_TURN_MS, 1.0, "lasts"))
            if len(ready) > 1 and (index := order.pick(len(ready), SHUFFLED, "out of order")):
                turn = ready[index]
                del ready[index]
            elif ready:
                turn = ready.popleft()
            else:
                continue
            if not turn._cancelled:
                self._run(turn)

    def _run(self, turn: Turn) -> None:
        owner = turn.owner
        if owner is not None and not owner.alive and not self._burying:
            self._forgone.append(turn)
            return
        self.steps += 1
        if self.steps > self._limit:
            self.endless = True
            self.stop()
        if self.kinds is not None:
            self.kinds[kind_of(turn)] += 1
        try:
            turn._context.run(turn._callback, *turn._args)  # type: ignore[arg-type]  # it is not cancelled
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001  # its handler is told
            self.call_exception_handler({"message": f"Exception in callback {turn}", "exception": error, "handle": turn})
        self.after()

    def _wait(self) -> None:
        """Nothing is ready: the next timer is due."""
        scheduled = self._scheduled
        while scheduled and scheduled[0][2]._cancelled:
            heappop(scheduled)
        if scheduled:
            self._pass(scheduled[0][0])
        else:
            self.endless = True
            self.stop()

    def _pass(self, now: float) -> None:
        """It is `now`: what is due by now is ready."""
        self._now = now = max(self._now, now)
        scheduled = self._scheduled
        while scheduled and scheduled[0][0] <= now:
            self._ready.append(heappop(scheduled)[2])


def kind_of(turn: Turn) -> str:
    """What is run: a task's coroutine up to where it next waits, or a callback."""
    callback = turn._callback
    task = getattr(callback, "__self__", None)
    if isinstance(task, asyncio.Task):
        coroutine: Any = task.get_coro()
        return f"task {coroutine.__qualname__}"
    callback = getattr(callback, "func", callback)
    return f"callback {getattr(callback, '__qualname__', type(callback).__name__)}"


def _wake(over: "asyncio.Future[None]") -> None:
    if not over.done():
        over.set_result(None)


@contextlib.contextmanager
def uncollected() -> Iterator[None]:
    """No garbage is looked for before the end: all that a run makes becomes garbage at once, when the run is over."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.collect(1)
