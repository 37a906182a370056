"""One process of the service, from its start to its death: all of it is the real one but transport, files and telemetry."""

import asyncio
from collections.abc import Callable
from contextvars import ContextVar, copy_context
from functools import cache, partial
from typing import TYPE_CHECKING, Any, TypeVar, TypeVarTuple

from headrace.ext_proc.core.effects import Record
from headrace.ext_proc.engine.clock import SharedClock
from headrace.ext_proc.engine.effects import EffectRunner
from headrace.ext_proc.engine.policy.problems import Problem
from headrace.ext_proc.engine.policy.reload import PolicyHolder
from headrace.ext_proc.engine.registry import Ports
from headrace.ext_proc.envoy.access_log import AccessLog
from headrace.ext_proc.envoy.health import Health
from headrace.ext_proc.envoy.processor import Processor
from headrace.ext_proc.envoy.services import methods
from headrace.ext_proc.stores.local import LocalAllowance
from tests.simulation.call import SimCall
from tests.simulation.chance import Lane
from tests.simulation.loop import OWNER
from tests.simulation.policies import compiled
from tests.simulation.store import StoreLink
from tests.simulation.story import Story

if TYPE_CHECKING:
    from tests.simulation.world import World

Result = TypeVar("Result")
Args = TypeVarTuple("Args")

STORY: ContextVar[Story] = ContextVar("story")
"""Of the call that a handler serves."""


class Wall:
    """A machine's own wall clock, off by so many milliseconds."""

    def __init__(self, world: "World", off_ms: int) -> None:
        self._world, self._off_ms = world, off_ms

    def now_ms(self) -> int:
        return self._world.now_ms() + self._off_ms


class SimOffload:
    """Heavy work, done at once some steps later."""

    def __init__(self, lane: Lane) -> None:
        self._lane = lane

    async def run(self, fn: Callable[[*Args], Result], *args: *Args) -> Result:
        await asyncio.sleep(self._lane.ms(50, 0.5, "heavy work takes"))
        return fn(*args)


class Worker:
    """number: of all there ever were. alive: what is left of it when it is dead is never run."""

    def __init__(self, world: "World", number: int, label: str) -> None:
        self.alive = True
        self.world = world
        self.number = number
        self.label = label
        self.calls: set[SimCall] = set()
        """Open ones."""
        self.entrusted: list[Story] = []
        """Those that were served here, or whose access-log entry came here."""
        self._context = copy_context()
        self._context.run(OWNER.set, self)
        self._context.run(self._start, world.chance.lane(f"worker {number}"))

    def _start(self, lane: Lane) -> None:
        world = self.world
        link = StoreLink(world.server, world.chance.lane(f"store of {self.number}"), world.weather.store)
        wall = Wall(world, lane.pick(3, 0.3, "a clock is off") * 7_000)
        self.clock = SharedClock(link.time_ms, wall=wall, monotonic=lambda: int(world.loop.time() * 1000))
        self.store = LocalAllowance(link)
        self._compiled = cache(partial(compiled, Ports(self.store, self.clock, SimOffload(lane))))
        self.holder = PolicyHolder(self._compiled(self.label))
        self.effects = EffectRunner(self.store, self.clock, [self._observe])
        self.processor = Processor(lambda: self.holder.current, self._new_id, self.effects.submit, now_ms=self.clock.now_ms)
        self.logged = AccessLog(self.effects.submit)
        self._following = world.loop.create_task(self.clock.follow())
        self._methods = methods(self.processor, self.logged, Health(lambda: True))

    def _new_id(self) -> str:
        story = STORY.get()
        story.label = self.label
        return story.id

    def _observe(self, record: Record) -> None:
        self.world.truth.observe(record)

    def reload(self, label: str) -> None:
        """Another policy is in force. "": one that cannot be compiled was offered."""
        if label:
            self.holder.accept(self._context.run(self._compiled, label))
            self.label = label
        else:
            self.holder.refuse([Problem("policy.yaml", 1, "", "is broken")])

    def serve(self, method: str, call: SimCall, story: Story | None = None) -> None:
        """Has the service's handler serve the call."""
        context = self._context.copy()
        if story is not None:
            context.run(STORY.set, story)
            self.entrusted.append(story)
        self.calls.add(call)
        call.task = asyncio.get_running_loop().create_task(self._served(method, call), context=context)
        call.task.add_done_callback(partial(self._ended, call))

    async def _served(self, method: str, call: SimCall) -> None:
        await self._methods[method](call)

    def _ended(self, call: SimCall, task: "asyncio.Task[None]") -> None:
        self.calls.discard(call)
        call.ended(task)

    def kill(self, lane: Lane) -> None:
        """Between any two of its steps."""
        self.alive = False
        for call in self.calls:
            call.broke(in_flight=lane.happens(0.5, "in flight"))
        for story in self.entrusted:
            self._orphan(story)

    def _orphan(self, story: Story) -> None:
        """What has not become of it by now need not become of it any more."""
        story.orphaned = story.orphaned or not story.decisions
        lease = self.world.server.books.leases.get((story.plan.organisation, story.id))
        if lease is None or not lease.closings:
            story.lost = f"worker {self.number} died"

    def rest(self) -> None:
        """Nothing is to be done beside requests any more."""
        self._following.cancel()

    def leftovers(self) -> list[str]:
        """What should not be there when nothing goes on any more."""
        tables: list[tuple[str, Any]] = [
            ("active streams", self.processor.active),
            ("settlements waiting", self.effects.depth),
            ("settlement queues", self.effects._waiting),
            ("settlement tasks", self.effects._tasks),
            ("leases that the store was not told of", self.store._pending),
            ("calls", self.calls),
        ]
        return [f"worker {self.number}: {name}: {value}" for name, value in tables if value]
