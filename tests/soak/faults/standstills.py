"""Processes that stand still: for less than anybody waits for them, and for longer."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from random import Random
from typing import ClassVar

from redis.asyncio import Redis

from headrace.ext_proc.stores.redis import TIMEOUT_S
from tests.soak.faults.base import Bound, Fault, Window
from tests.soak.faults.stalls import busy, pause, stopped
from tests.soak.faults.striking import striking
from tests.soak.site import Site

SHORT_S = TIMEOUT_S / 5
"""Far below what the service waits for the store, so that a busy machine does not make it the other kind."""
LONG_S = (2 * TIMEOUT_S, 8 * TIMEOUT_S)


async def _stop(site: Site, client: Redis, seconds: float) -> None:
    with stopped(site.store.pid):
        await asyncio.sleep(seconds)


async def _pause(site: Site, client: Redis, seconds: float) -> None:
    await pause(client, seconds)
    await client.ping()


async def _busy(site: Site, client: Redis, seconds: float) -> None:
    await busy(client, min(seconds, 1.5))  # it takes a processor of which all others have need


STANDSTILLS: Mapping[str, Callable[[Site, Redis, float], Awaitable[None]]] = {
    "SIGSTOP": _stop,
    "CLIENT PAUSE": _pause,
    "script": _busy,
}


class StallStore(Fault):
    """Shorter than the store's time-out nobody notices; longer, requests are refused, and no settlement is lost."""

    kind: ClassVar[str] = "stall-store"

    async def strike(self, site: Site, random: Random) -> Window:
        how = random.choice(sorted(STANDSTILLS))
        seconds = SHORT_S if random.random() < 0.3 else random.uniform(*LONG_S)
        bound = Bound.NOTHING if seconds == SHORT_S else Bound.REFUSED
        async with (
            striking(site, self.kind, bound, f"{how} {seconds:.1f} s") as course,
            Redis(port=site.store.server.port, socket_timeout=60) as client,
        ):
            await STANDSTILLS[how](site, client, seconds)
        return course.window


class StopWorker(Fault):
    """For as long it answers nothing, and finds afterwards that the store did not answer in time either.

    What it then still answers may come after Envoy has given up, so that nobody hears of the lease.
    """

    kind: ClassVar[str] = "stop-worker"

    async def strike(self, site: Site, random: Random) -> Window:
        seconds = random.uniform(0.2, 3.0)
        async with striking(site, self.kind, Bound.REFUSED | Bound.AS_RESERVED, f"{seconds:.1f} s") as course:
            if workers := sorted(site.service.workers()):
                with stopped(random.choice(workers)):
                    await asyncio.sleep(seconds)
        return course.window


class StopPool(Fault):
    """A model server that hangs: its callers wait, and get their answers when it goes on."""

    kind: ClassVar[str] = "stop-upstream"

    async def strike(self, site: Site, random: Random) -> Window:
        name, seconds = random.choice(sorted(site.pools)), random.uniform(0.2, 5.0)
        async with striking(site, self.kind, Bound.NOTHING, f"{name} {seconds:.1f} s") as course:
            with stopped(site.pools[name].pid):
                await asyncio.sleep(seconds)
        return course.window
