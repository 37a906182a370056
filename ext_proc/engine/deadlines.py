"""Deadlines of whatever waits in a task, many of them under one timer: one of its own costs each of them ten times as much."""

import asyncio
from contextvars import Context
from math import ceil
from typing import Final

TICK_S: Final = 0.005
"""Deadlines within the same tick come together, at its end."""
MOST_TICKS: Final = 256
"""Until a deadline; one that is further off has longer ticks, so that there are never many timers."""


class Deadline:
    """Cancels the task that it was made in when it comes, unless it was lifted by then."""

    __slots__ = ("_cancelling", "_has_come", "_task", "_together")

    def __init__(self, task: "asyncio.Task[object]", together: "set[Deadline]") -> None:
        self._task = task
        self._together = together
        self._cancelling = task.cancelling()
        self._has_come = False
        together.add(self)

    def come(self) -> None:
        self._has_come = True
        self._task.cancel()

    def lift(self) -> bool:
        """To be called once. Whether a cancellation of the task was this deadline's, and nobody else's."""
        if not self._has_come:
            self._together.discard(self)
            return False
        return self._task.uncancel() <= self._cancelling


class _Ticks:
    """The deadlines of one loop, by the tick that they come with."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._due: dict[float, set[Deadline]] = {}
        self._nobodys = Context()
        """What the timers run in: whoever asks first for one has it for all who come after."""

    def at(self, time: float, now: float) -> set[Deadline]:
        tick = TICK_S
        while time - now > MOST_TICKS * tick:
            tick *= 2
        end = ceil(time / tick) * tick
        together = self._due.get(end)
        if together is None:
            together = self._due[end] = set()
            self.loop.call_at(end, self._come, end, context=self._nobodys)
        return together

    def _come(self, end: float) -> None:
        together = self._due.pop(end)
        while together:  # nothing in it refers to it any more
            together.pop().come()


_ticks: _Ticks | None = None
"""Of the loop that asked last: a process has one, and tests have one after the other."""


def deadline_at(time: float, now: float) -> Deadline:
    """For the task that is running. time, now: the loop's, in seconds; it comes up to a tick later."""
    global _ticks
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None, "what waits does so in a task"
    if _ticks is None or _ticks.loop is not loop:
        _ticks = _Ticks(loop)
    return Deadline(task, _ticks.at(time, now))
