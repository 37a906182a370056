"""Asks, in time with the run's seed: so many requests a second, each in a task of its own."""

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from random import Random

from tests.soak.calling import Calling
from tests.soak.heard import Verdict

AT_ONCE = 80
"""Requests under way. While so many are, none is begun: an outage shall not be answered by ever more of them."""


@dataclass
class Driver:
    """verdicts: of this round's requests, by number. under_way: those that have not ended."""

    callers: Calling
    seed: int
    per_second: float
    round: int = 0
    asked: int = 0
    events: int = 0
    verdicts: dict[int, Verdict] = field(default_factory=dict)
    outcomes: Counter[str] = field(default_factory=Counter)
    _under_way: set["asyncio.Task[None]"] = field(default_factory=set)
    _failure: BaseException | None = None

    async def ask_for(self, seconds: float) -> None:
        """Returns when the time is over; what was asked goes on. Raises what a task has raised."""
        loop = asyncio.get_running_loop()
        pace, next_at = Random(f"{self.seed}:pace:{self.asked}"), loop.time()
        end = next_at + seconds
        while (next_at := next_at + pace.expovariate(self.per_second)) < end:
            await asyncio.sleep(max(0.0, next_at - loop.time()))
            self._check()
            if len(self._under_way) < AT_ONCE:
                self._begin()
        await asyncio.sleep(max(0.0, end - loop.time()))

    def _begin(self) -> None:
        self.asked += 1
        task = asyncio.create_task(self._one(self.asked, self.round))
        self._under_way.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._under_way.discard(task)
        if not task.cancelled():
            self._failure = self._failure or task.exception()

    async def _one(self, number: int, round_: int) -> None:
        verdict = self.verdicts[number] = await self.callers.ask(number, round_)
        self.events += verdict.events
        self.outcomes[_outcome(verdict)] += 1

    async def drained(self) -> None:
        """Returns when every request has ended. Raises what a task has raised."""
        while self._under_way:
            await asyncio.wait(self._under_way)
        self._check()

    def _check(self) -> None:
        if self._failure is not None:
            raise self._failure


def _outcome(verdict: Verdict) -> str:
    if verdict.left:
        return "left"
    if verdict.broke:
        return "broke"
    return verdict.code or str(verdict.status)
