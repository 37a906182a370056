"""Wall clocks: the machine's, and the one that all who share a store go by."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from time import monotonic_ns, time_ns

from headrace.ext_proc.core.ports import Clock, StoreUnavailable

LOOK_S = 1.0
"""Between two looks at the store's clock. A monotonic clock goes wrong by microseconds in that time."""


class SystemClock:
    """The machine's wall time."""

    def now_ms(self) -> int:
        return time_ns() // 1_000_000


def monotonic_ms() -> int:
    return monotonic_ns() // 1_000_000


class SharedClock:
    """The store's wall time, carried on between looks, and while the store is away, by this machine's monotonic clock.

    So the workers of all machines agree on what time it is, and a machine whose wall clock is put forward or back charges no
    other window and loses no lease. Until the first look it goes by `wall`.

    read: the store's clock, epoch milliseconds; raises StoreUnavailable. monotonic: milliseconds.
    """

    def __init__(
        self, read: Callable[[], Awaitable[int]], *, wall: Clock | None = None, monotonic: Callable[[], int] = monotonic_ms
    ) -> None:
        self._read, self._monotonic = read, monotonic
        self._ahead_ms = (wall or SystemClock()).now_ms() - monotonic()
        """Of the monotonic clock."""

    def now_ms(self) -> int:
        return self._monotonic() + self._ahead_ms

    async def look(self) -> None:
        """Go by the store's clock from here on. Raises StoreUnavailable.

        It was read at some moment between the question and the answer; what is consistent with that stays as it is, so that a slow
        answer does not make the clock jump.
        """
        asked = self._monotonic()
        told = await self._read()
        answered = self._monotonic()
        self._ahead_ms = min(max(self._ahead_ms, told - answered), told - asked)

    async def follow(self) -> None:
        """Look now and then, until cancelled."""
        while True:
            await asyncio.sleep(LOOK_S)
            with suppress(StoreUnavailable):
                await self.look()
