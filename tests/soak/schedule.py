"""Faults, one after the other, in an order and at intervals that follow from the seed; and policies that change all the time."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from random import Random

from tests.soak.faults.base import Fault, Window
from tests.soak.faults.policies import GOOD, PolicyFile
from tests.soak.policy import PRICES
from tests.soak.site import Site

PAUSE_S = (3.0, 9.0)
"""Between two faults."""
STRIKE_S = 120.0
"""A strike that has not ended by then is an error of the run."""
RELOAD_S = 1.0
BAD_S = 0.3
"""So long a bad policy stays: a worker that has to start while it is there cannot."""


class Schedule:
    """Every fault once before any comes again. sparing: those that end the service's own processes are passed over."""

    def __init__(self, site: Site, faults: Sequence[Fault], seed: int) -> None:
        self._site, self._faults, self._random = site, faults, Random(f"{seed}:faults")
        self._waiting: list[Fault] = []
        self.sparing = False
        self.windows: list[Window] = []
        self.strikes: Counter[str] = Counter()

    async def strike_for(self, seconds: float) -> None:
        """Begins no fault after that time; returns when the last one is over."""
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        while self._faults:
            await asyncio.sleep(self._random.uniform(*PAUSE_S))
            if loop.time() >= end:
                return
            if (fault := self._next()) is not None:
                await self._strike(fault)

    def _next(self) -> Fault | None:
        """None where there is none that may strike now."""
        may = [fault for fault in self._waiting if not (self.sparing and fault.ends_lives)]
        if not may:
            self._waiting = self._random.sample(self._faults, len(self._faults))
            may = [fault for fault in self._waiting if not (self.sparing and fault.ends_lives)]
        if may:
            self._waiting.remove(may[-1])
        return may[-1] if may else None

    async def _strike(self, fault: Fault) -> None:
        try:
            async with asyncio.timeout(STRIKE_S):
                self.windows.append(await fault.strike(self._site, self._random))
        except Exception as error:
            error.add_note(f"while {fault.kind} struck")
            raise
        self.strikes[fault.kind] += 1


@contextlib.asynccontextmanager
async def reloading(site: Site, seed: int) -> AsyncIterator[Counter[str]]:
    """A policy a second, for the length of the block; what was offered, by what it was."""
    offered: Counter[str] = Counter()
    task = asyncio.create_task(_reload(site, Random(f"{seed}:policies"), offered))
    try:
        yield offered
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        site.write_good_policy()


async def _reload(site: Site, random: Random, offered: Counter[str]) -> None:
    files = [PolicyFile(site.policy, site.good_policy(variant)) for variant in range(len(PRICES))]
    while True:
        await asyncio.sleep(RELOAD_S)
        async with site.steady:
            changed = random.choice(files).change(random)
            offered[changed.what] += 1
            if changed.what != GOOD:
                await asyncio.sleep(BAD_S)
                random.choice(files).put(GOOD, in_place=random.random() < 0.5)
