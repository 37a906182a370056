"""The machine's wall clock is put forward and back, for the service alone, and right again."""

from collections.abc import Mapping
from pathlib import Path
from random import Random
from typing import ClassVar

from tests.soak.faults.base import Bound, Fault, Window
from tests.soak.faults.clock import SteppedClock
from tests.soak.faults.striking import hold, striking
from tests.soak.site import Site

DAY_S = 86_400
STEPS_S = (1, 61, 3700, 6 * 3600, 40 * DAY_S)
"""Less than a window, more than a lease, past the end of an hour, of most days, of a month."""


class ClockSteps(Fault):
    """Budgets, leases and tokens go by the store's clock: nothing is to be seen of it."""

    kind: ClassVar[str] = "clock-step"

    def __init__(self) -> None:
        self._clock: SteppedClock | None = None

    def furnish(self, folder: Path) -> Mapping[str, str]:
        self._clock = SteppedClock(folder)
        return self._clock.environment

    async def strike(self, site: Site, random: Random) -> Window:
        assert self._clock is not None, "furnish() comes first"
        seconds = random.choice(STEPS_S) * random.choice((-1, 1))
        async with striking(site, self.kind, Bound.NOTHING, f"{seconds:+d} s") as course:
            self._clock.step(seconds)
            await hold(random, 1.0, 5.0)
            self._clock.right()
        return course.window
