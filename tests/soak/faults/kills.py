"""`kill -9` of every process of the site, in mid-work. What the supervisor does not start again is started by the operator: us."""

import asyncio
import os
import signal
from random import Random
from typing import ClassVar

from tests.soak.faults.base import Bound, Fault, Window
from tests.soak.faults.striking import eventually, striking
from tests.soak.processes import Part
from tests.soak.site import Site

WITH_THE_WORKER = Bound.REFUSED | Bound.CUT | Bound.AS_RESERVED | Bound.UNCOUNTED | Bound.UNRECORDED
"""docs/operations.md: a lease nobody settles stands as reserved. docs/audit.md: what is not waited for may go with its process."""


class KillWorker(Fault):
    """Its supervisor starts another."""

    kind: ClassVar[str] = "kill-worker"
    ends_lives: ClassVar[bool] = True

    async def strike(self, site: Site, random: Random) -> Window:
        async with striking(site, self.kind, WITH_THE_WORKER) as course:
            if workers := sorted(site.service.workers()):
                await _killed(site, random.choice(workers))
        return course.window


async def _killed(site: Site, pid: int) -> None:
    os.kill(pid, signal.SIGKILL)

    async def replaced() -> bool:
        return pid not in site.service.workers()

    await eventually(replaced, "a killed worker is gone")


class KillSupervisor(Fault):
    """Its workers end with it, however it ends, and nobody serves until the operator has started another."""

    kind: ClassVar[str] = "kill-supervisor"
    ends_lives: ClassVar[bool] = True

    async def strike(self, site: Site, random: Random) -> Window:
        return await _away(site, self.kind, site.service, random.uniform(0.0, 1.0), WITH_THE_WORKER)


class KillForkServer(Fault):
    """Its workers do not notice; another begins at once."""

    kind: ClassVar[str] = "kill-fork-server"
    ends_lives: ClassVar[bool] = True

    async def strike(self, site: Site, random: Random) -> Window:
        async with striking(site, self.kind, Bound.NOTHING) as course:
            if (server := site.service.fork_server()) is not None:
                os.kill(server, signal.SIGKILL)
        return course.window


class KillStore(Fault):
    """It has on disk whatever it answered; settlements wait for it."""

    kind: ClassVar[str] = "kill-store"

    async def strike(self, site: Site, random: Random) -> Window:
        return await _away(site, self.kind, site.store, random.uniform(0.0, 2.0), Bound.REFUSED)


class KillGateway(Fault):
    """With it go the access log's entries that it had not sent."""

    kind: ClassVar[str] = "kill-gateway"

    async def strike(self, site: Site, random: Random) -> Window:
        return await _away(site, self.kind, site.gateway, random.uniform(0.0, 1.0), WITH_THE_WORKER)


class KillPool(Fault):
    """Answers are cut, or do not begin."""

    kind: ClassVar[str] = "kill-upstream"

    async def strike(self, site: Site, random: Random) -> Window:
        bound = Bound.REFUSED | Bound.CUT | Bound.AS_RESERVED | Bound.UNCOUNTED
        name = random.choice(sorted(site.pools))
        return await _away(site, self.kind, site.pools[name], random.uniform(0.0, 2.0), bound, name)


async def _away(site: Site, kind: str, part: Part, seconds: float, bound: Bound, what: str = "") -> Window:
    """The part is killed, and started again after so long."""
    async with striking(site, kind, bound, what) as course:
        await part.kill()
        await asyncio.sleep(seconds)
        await part.start()
    return course.window
