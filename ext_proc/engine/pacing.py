"""Work that may wait, on the loop that answers requests: only when the loop has nothing else to do, and for a part of its time."""

import asyncio
from collections.abc import Callable
from time import perf_counter, thread_time

SHARE = 0.2
LEAST_SHARE = 0.05
"""Of the time of the loop's thread: the former where it has nothing else to do, the latter where that takes half of it. With more,
too many requests would find such work under way, which cannot be interrupted.
"""
QUIET_S = 0.000_05
MOST_QUIET_S = 0.000_2
"""A turn of the loop that takes longer had something else to do: an empty one takes 10 to 40 µs, a request's message 100. Where
empty ones take longer, it is four times the shortest that was seen, up to the latter.
"""
QUIET_TURNS = 3
"""In a row, before the loop counts as idle: one is found between any two messages."""
LATER_S = 0.005
MOST_LATER_S = 0.1
"""Until a loop that was busy is looked at again: longer each time it is found so."""


class Pace:
    """One for each kind of such work, which is done piece by piece: `moment`, the piece, `done`.

    spent: seconds of the thread's processor time. now: seconds.
    """

    def __init__(self, spent: Callable[[], float] = thread_time, now: Callable[[], float] = perf_counter) -> None:
        self._spent, self._now = spent, now
        self._began = self._ended = spent()
        self._ended_at = now()
        self._busy = 0.0
        """The share of its time that the thread was at work between the last two pieces."""
        self._owed = 0.0
        self._least = MOST_QUIET_S

    async def moment(self) -> None:
        """Returns when a piece may begin."""
        wait, later = self._owed, LATER_S
        while True:
            await asyncio.sleep(wait)
            if await self._is_quiet():
                break
            wait, later = later, min(2 * later, MOST_LATER_S)
        self._began = self._spent()
        self._busy = (self._began - self._ended) / max(self._now() - self._ended_at, 1e-9)

    async def _is_quiet(self) -> bool:
        for _ in range(QUIET_TURNS):
            took = await _turn()
            self._least = min(self._least, took)
            if took > min(max(QUIET_S, 4 * self._least), MOST_QUIET_S):
                return False
        return True

    def done(self) -> None:
        """The piece is over; what it took is owed to the requests several times over."""
        self._ended, self._ended_at = self._spent(), self._now()
        share = max(LEAST_SHARE, SHARE * (1 - 2 * self._busy))
        self._owed = (self._ended - self._began) * (1 / share - 1)


async def _turn() -> float:
    """Seconds that the loop takes for everything that is ready."""
    started = perf_counter()
    await asyncio.sleep(0)
    return perf_counter() - started
