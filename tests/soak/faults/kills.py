"""`kill -9` of every process of the site, in mid-work. What the supervisor does not start again is started by the operator: us."""

import os
import signal
from random import Random
from typing import ClassVar

from tests.soak.faults.base import Bound, Fault, Window
from tests.soak.faults.striking import eventually, hold, striking
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
        async with striking(site, self.kind, WITH_THE_WORKER) as course:
            await site.service.kill()
            await hold(random, 0.0, 1.0)
            await site.service.start()
        return course.window


class KillStore(Fault):
    """It has on disk whatever it answered; settlements wait for it."""

    kind: ClassVar[str] = "kill-store"

    async def strike(self, site: Site, random: Random) -> Window:
        async with striking(site, self.kind, Bound.REFUSED) as course:
            await site.store.kill()
            await hold(random, 0.0, 2.0)
            await site.store.start()
        return course.window


class KillGateway(Fault):
    """With it go the access log's entries that it had not sent."""

    kind: ClassVar[str] = "kill-gateway"

    async def strike(self, site: Site, random: Random) -> Window:
        async with striking(site, self.kind, WITH_THE_WORKER) as course:
            await site.gateway.kill()
            await hold(random, 0.0, 1.0)
            await site.gateway.start()
        return course.window


class KillPool(Fault):
    """Answers are cut, or do not begin."""

    kind: ClassVar[str] = "kill-upstream"

    async def strike(self, site: Site, random: Random) -> Window:
        bound = Bound.REFUSED | Bound.CUT | Bound.AS_RESERVED | Bound.UNCOUNTED
        name = random.choice(sorted(site.pools))
        async with striking(site, self.kind, bound, name) as course:
            await site.pools[name].kill()
            await hold(random, 0.0, 2.0)
            await site.pools[name].start()
        return course.window
