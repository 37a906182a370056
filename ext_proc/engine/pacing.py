"""Work that may wait, on the loop that answers requests: only when the loop has nothing else to do, and for a part of its time."""

import asyncio
from collections.abc import Callable
from time import perf_counter, thread_time

SHARE = 0.2
"""Of the time of the loop's thread. With more, too many requests would find such work under way, which cannot be interrupted."""
QUIET_S = 0.000_2
"""A turn of the loop that takes longer had something else to do: less than any request takes."""
LATER_S = 0.005
"""Until a loop that was busy is looked at again."""


class Pace:
    """One for each kind of such work, which is done piece by piece: `moment`, the piece, `done`. spent: the thread's seconds."""

    def __init__(self, spent: Callable[[], float] = thread_time) -> None:
        self._spent = spent
        self._began = 0.0
        self._owed = 0.0

    async def moment(self) -> None:
        """Returns when a piece may begin."""
        wait = self._owed
        while True:
            await asyncio.sleep(wait)
            if await _turn() <= QUIET_S:
                break
            wait = LATER_S
        self._began = self._spent()

    def done(self) -> None:
        """The piece is over; what it took is owed to the requests several times over."""
        self._owed = (self._spent() - self._began) * (1 / SHARE - 1)


async def _turn() -> float:
    """Seconds that the loop takes for everything that is ready."""
    started = perf_counter()
    await asyncio.sleep(0)
    return perf_counter() - started
