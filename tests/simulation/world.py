"""One run: workers, gateway, upstreams, clients and a store, and what befalls them; all of it from one seed."""

import asyncio
import logging
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from tests.simulation.chance import Chance, Lane, Trace, told
from tests.simulation.entries import Logs
from tests.simulation.gateway import Carried
from tests.simulation.loop import VirtualLoop, uncollected
from tests.simulation.plan import BURST_S, BURSTS, planned
from tests.simulation.policies import LEASE_S, WAYS
from tests.simulation.store import StoreServer
from tests.simulation.story import Story
from tests.simulation.trouble import Trouble
from tests.simulation.truth import Truth
from tests.simulation.upstream import Upstream
from tests.simulation.weather import Weather
from tests.simulation.worker import Worker

EXCHANGES = 30
WORKERS = 2
EPOCH_MS = 1_795_000_010_000
"""A minute ends in the middle of a run."""
PATIENCE_S = 120
"""Until all is settled, when nothing goes wrong any more."""
LIMIT = 200_000
"""Steps; a run has some 1,000."""


@dataclass
class Outcome:
    """violation: what was not true; empty: everything was. trace: what was chosen; words: what about. met: what has happened."""

    seed: int
    steps: int
    exchanges: int
    violation: str
    trace: Trace = field(repr=False)
    words: dict[str, dict[int, str]] = field(repr=False)
    met: Counter[str] = field(repr=False)
    kinds: Counter[str] = field(repr=False)

    @property
    def told(self) -> list[str]:
        """The trace in words."""
        return told(self.trace, self.words)


class World:
    """Everything there is in one run."""

    def __init__(self, seed: int, trace: Trace | None = None, exchanges: int = EXCHANGES) -> None:
        self.chance = Chance(seed, trace)
        self.loop = VirtualLoop(self.chance.lane("order"), LIMIT)
        self.weather = Weather.drawn(self.chance.lane("weather"))
        self.violation = ""
        self.server = StoreServer(self.now_ms, self.violated)
        self.truth = Truth(self, self.violated)
        self.logs = Logs(self)
        self.upstream = Upstream()
        self.stories: dict[str, Story] = {}
        self.running: dict[Carried, asyncio.Task[None]] = {}
        self.workers: list[Worker] = []
        self.stepped_ms = 0
        self.resting = False
        """Nothing goes wrong any more."""
        self._labels = self.chance.lane("policies")
        self._first = list(WAYS)[self._labels.among(len(WAYS), "first policy")]
        self._plan(exchanges)

    def _plan(self, exchanges: int) -> None:
        for number in range(1, exchanges + 1):
            plan = planned(number, self.chance.lane(f"x{number}"), self.weather)
            if plan is not None:
                story = Story(number, plan, self.weather, self.chance.lane(f"x{number} filter"), f"hx{number:024x}")
                self.stories[story.id] = story

    def now_ms(self) -> int:
        """Of the clock that the store goes by; everybody else is to go by it, too."""
        return EPOCH_MS + int(self.loop.time() * 1000) + self.stepped_ms

    def violated(self, what: str) -> None:
        """The first counts: what follows may follow from it."""
        if not self.violation:
            self.violation = what
            self.loop.stop()

    def start_worker(self, label: str = "") -> None:
        self.workers.append(Worker(self, len(self.workers), label or self._first))
        if self.resting:
            self.workers[-1].rest()

    def alive(self) -> list[Worker]:
        return [worker for worker in self.workers if worker.alive]

    def some_worker(self, lane: Lane) -> Worker | None:
        alive = self.alive()
        return alive[lane.among(len(alive), "worker")] if alive else None

    # --- a run -------------------------------------------------------------------------------------------------------------

    def run(self) -> Outcome:
        loop = self.loop
        loop.set_exception_handler(self._failed)
        loop.after = self.server.audit_changes
        main = loop.create_task(self._main())
        main.add_done_callback(lambda _: loop.stop())
        loop.run_forever()
        if loop.endless and not self.violation:
            self.violation = f"it does not come to an end, after {loop.steps} steps and {loop.time():.1f} s"
        if main.done() and not main.cancelled() and (error := main.exception()) is not None and not self.violation:
            raise error
        steps, kinds, loop.kinds = loop.steps, loop.kinds, None
        self._bury()
        chosen, met = (self.chance.trace, self.chance.words), self.chance.met + Counter(self._met())
        return Outcome(self.chance.seed, steps, len(self.stories), self.violation, *chosen, met, kinds or Counter())

    def _met(self) -> Iterator[str]:
        """How exchanges ended, and what was answered."""
        for story in self.stories.values():
            yield f"status {story.client.status}"
            yield from (f"decision {decision['outcome']}" for decision in story.decisions)
            yield from (f"settlement {outcome}" for outcome in story.settlements)
            if story.client.ours:
                yield f"code {story.client.headers.get('x-headrace-reason')}"
            if story.lost:
                yield "news lost"

    def _failed(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self.violated(f"the loop was told: {context.get('message')}: {context.get('exception')!r}")

    async def _main(self) -> None:
        for _ in range(WORKERS):
            self.start_worker()
        for story in self.stories.values():
            self.loop.call_later(story.plan.starts_s, self._begin, story)
        trouble = Trouble(self)
        await trouble.until(BURST_S * BURSTS)
        while self.running:
            await asyncio.wait(list(self.running.values()))
        trouble.over()
        await self._settled()
        self.truth.finish()
        self._check_held()
        self.server.audit_all()

    def _begin(self, story: Story) -> None:
        carried = Carried(self, story)
        task = self.running[carried] = self.loop.create_task(carried.run())
        task.add_done_callback(lambda done: self._gone(carried, done))
        if story.plan.hangs_up_s:
            self.loop.call_later(story.plan.hangs_up_s, task.cancel)

    def _gone(self, carried: Carried, task: "asyncio.Task[None]") -> None:
        del self.running[carried]
        if not task.cancelled() and (error := task.exception()) is not None:
            raise error

    async def _settled(self) -> None:
        """Nothing goes wrong any more; sooner or later nothing must be left."""
        for _ in range(PATIENCE_S):
            await self.loop.sleep(1)
            if not self.logs.pending and not any(worker.leftovers() for worker in self.alive()):
                break
        else:
            self.violated("; ".join(left for worker in self.alive() for left in worker.leftovers()) or "entries are on their way")
        await self.loop.sleep(PATIENCE_S)  # commands that were given up long ago
        self._check_tasks()

    def _check_tasks(self) -> None:
        tasks = [task for task, owner in self.loop.tasks if not task.done() and owner is not None and owner.alive]
        if tasks:
            self.violated(f"tasks are left: {tasks}")

    def _check_held(self) -> None:
        """What runs at once: nothing does, also of those that nobody could settle, once their leases have lapsed."""
        later_ms = self.now_ms() + 2 * LEASE_S * 1000
        for counter in self.server.books.of_counter:
            if counter[2] == "concurrency" and (held := self.server.held(counter, later_ms)):
                self.violated(f"{held} of {counter[1]} still run")

    def _bury(self) -> None:
        """Nobody hears of how what is left ends."""
        self.loop.after = lambda: None
        self.loop.set_exception_handler(lambda *_: None)
        for worker in self.workers:
            worker.alive = False
        self.loop.bury()


def run(seed: int, trace: Trace | None = None, exchanges: int = EXCHANGES, *, counted: bool = False) -> Outcome:
    """The world of this seed, or what the trace leaves of it. counted: the kinds of its steps are."""
    logging.disable()  # what fails here fails on purpose
    try:
        with uncollected():
            world = World(seed, trace, exchanges)
            world.loop.kinds = Counter() if counted else None
            return world.run()
    finally:
        logging.disable(logging.NOTSET)
