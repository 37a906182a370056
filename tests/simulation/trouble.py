"""What befalls the whole of it: processes die, the store goes away, policies change, clocks are set."""

from typing import TYPE_CHECKING

from tests.simulation.entries import GATEWAY_DIED
from tests.simulation.plan import BURST_S
from tests.simulation.policies import WAYS

if TYPE_CHECKING:
    from tests.simulation.world import World

TICK_S = 0.5
IN_BURST_MS = 250
KINDS = ("", "a worker dies", "the gateway dies", "the store goes away", "a policy", "a broken policy", "the clock is set")
MOST_OFF_MS = 40_000
"""Clocks differ by less than the minute in which the store still knows a window that has ended."""
LAST_WORKERS = 12


class Trouble:
    """Of one run."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self._lane = world.chance.lane("trouble")

    async def until(self, seconds: float) -> None:
        """Something or nothing, at every tick."""
        while self._world.loop.time() < seconds:
            await self._world.loop.sleep(self._pause())
            self._strike(KINDS[self._lane.pick(len(KINDS), 2 * self._world.weather.crashes, "trouble")])

    def _pause(self) -> float:
        """Seconds; half of what happens, happens in the middle of a burst."""
        if not self._lane.happens(self._world.weather.crashes and 0.5, "in a burst"):
            return TICK_S
        return BURST_S - self._world.loop.time() % BURST_S + self._lane.ms(IN_BURST_MS, 1.0, "at")

    def over(self) -> None:
        """From here on nothing goes wrong."""
        self._world.server.away, self._world.server.calm = False, True
        if not self._world.alive():
            self._world.start_worker()
        self._world.resting = True
        for worker in self._world.alive():
            worker.rest()

    def _strike(self, kind: str) -> None:
        match kind:
            case "a worker dies":
                self._kill_worker()
            case "the gateway dies":
                self._kill_gateway()
            case "the store goes away":
                self._world.server.away = True
                self._world.loop.call_later(self._lane.ms(3000, 1.0, "for"), self._store_is_back)
            case "a policy" | "a broken policy":
                self._reload(list(WAYS)[self._lane.among(len(WAYS), "policy")] if kind == "a policy" else "")
            case "the clock is set":
                self._world.stepped_ms = (self._lane.among(3, "clock") - 1) * MOST_OFF_MS // 2

    def _kill_worker(self) -> None:
        world = self._world
        worker = world.some_worker(self._lane)
        if worker is None or len(world.workers) >= LAST_WORKERS:
            return
        worker.kill(self._lane)
        world.loop.call_later(self._lane.ms(1000, 0.5, "its successor comes"), world.start_worker, worker.label)

    def _kill_gateway(self) -> None:
        """What it carried is gone; another one is there at once."""
        for carried, task in list(self._world.running.items()):
            carried.story.lost = GATEWAY_DIED
            task.cancel()

    def _store_is_back(self) -> None:
        self._world.server.away = False

    def _reload(self, label: str) -> None:
        """Workers hear of it one after the other."""
        for worker in self._world.alive():
            self._world.loop.call_later(self._lane.ms(300, 0.8, "heard of it"), worker.reload, label)
