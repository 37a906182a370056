"""What every strike has in common: its window, and waiting until all is well again."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from random import Random

import httpx

from headrace.ext_proc.envoy.process import EnvoyError
from tests.soak.faults.base import Bound, Window
from tests.soak.site import WORKERS, Site

WELL_S = 90.0
"""For the site to serve again. A worker that failed several times in a row waits ten seconds before the next start."""
LOOK_S = 0.05


@dataclass
class Course:
    """One strike under way. A body sets what it learns only while it strikes."""

    bound: Bound
    note: str = ""
    windows: list[Window] = field(default_factory=list)

    @property
    def window(self) -> Window:
        """Once the strike is over."""
        return self.windows[0]


@asynccontextmanager
async def striking(site: Site, kind: str, bound: Bound, note: str = "") -> AsyncIterator[Course]:
    """The window lasts from here until the block has ended and the site serves. Raises AssertionError where it no longer does."""
    loop = asyncio.get_running_loop()
    course, began = Course(bound, note), loop.time()
    yield course
    await well(site)
    course.windows.append(Window(kind, began, loop.time(), course.bound, note=course.note))


async def well(site: Site) -> None:
    """Returns when every worker serves, the store answers, and Envoy holds all of them for healthy."""
    await eventually(lambda: _is_well(site), "the site serves again")


async def _is_well(site: Site) -> bool:
    return len(site.service.workers()) == WORKERS and await site.ready() and await _healthy(site) == WORKERS


async def _healthy(site: Site) -> int:
    """Workers, as Envoy sees them."""
    try:
        lines = (await site.gateway.envoy.admin("/clusters")).splitlines()
    except (httpx.HTTPError, EnvoyError):
        return 0
    return sum(line.startswith("headrace::") and line.endswith("::health_flags::healthy") for line in lines)


async def eventually(holds: Callable[[], Awaitable[bool]], what: str) -> None:
    try:
        async with asyncio.timeout(WELL_S):
            while not await holds():  # noqa: ASYNC110  what is waited for is in other processes
                await asyncio.sleep(LOOK_S)
    except TimeoutError:
        raise AssertionError(f"not within {WELL_S:g} s: {what}") from None


async def hold(random: Random, least_s: float, most_s: float) -> float:
    """For so long it stays broken."""
    seconds = random.uniform(least_s, most_s)
    await asyncio.sleep(seconds)
    return seconds
