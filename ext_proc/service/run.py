"""`headrace serve` as a process: the service until a signal ends it."""

import asyncio
import logging
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from headrace.ext_proc.engine.imports import imported
from headrace.ext_proc.service.descriptors import allow_many
from headrace.ext_proc.service.options import Options
from headrace.ext_proc.service.starting import Starter
from headrace.ext_proc.service.supervisor import Service

if TYPE_CHECKING:
    from headrace.ext_proc.service.admin import Admin

log = logging.getLogger(__name__)


async def serve(options: Options, starter: Starter | None = None) -> int:
    """Runs until SIGTERM or SIGINT, then drains; a second one ends at once. The exit status. Raises StartError."""
    allow_many()
    service = Service(options, starter)
    stop = Stop(service)
    stop.listen()
    starting = asyncio.create_task(service.start())  # the workers import their modules while the admin interface's are
    try:
        async with administered(service) as admin:
            return await _run(service, admin, stop, starting)
    except BaseException:
        await _abandon(service, starting)
        raise


async def _abandon(service: Service, starting: asyncio.Task[None]) -> None:
    """Leaves nothing running. A start that fails or is cancelled sees to that itself."""
    if starting.cancel():
        await asyncio.wait([starting])
    elif not starting.cancelled() and starting.exception() is None:
        await service.kill()


@asynccontextmanager
async def administered(service: Service) -> AsyncIterator["Admin | None"]:
    """The admin interface of `service`, from before it starts until after it has ended. Raises AdminError."""
    if service.options.admin is None:
        yield None
        return
    module = await asyncio.to_thread(imported, "headrace.ext_proc.service.admin")  # a quarter of a second
    admin: Admin = module.Admin(service, service.options.admin)
    await admin.start()
    try:
        yield admin
    finally:
        await admin.stop()


async def _run(service: Service, admin: "Admin | None", stop: "Stop", started: asyncio.Task[None]) -> int:
    stopped = asyncio.create_task(stop.first.wait())
    await asyncio.wait({started, stopped}, return_when=asyncio.FIRST_COMPLETED)
    if not started.done():
        started.cancel()
        await asyncio.wait([started])
        return 0
    await started
    log.info("serving", extra={"addresses": service.addresses, "admin": admin.url if admin else "off"})
    await stopped
    return await stop.leave()


class Stop:
    """What signals ask for."""

    def __init__(self, service: Service) -> None:
        self.first = asyncio.Event()
        self._again = asyncio.Event()
        self._service = service

    def listen(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._asked)
        loop.add_signal_handler(signal.SIGHUP, self._service.reload)

    def _asked(self) -> None:
        (self._again if self.first.is_set() else self.first).set()

    async def leave(self) -> int:
        """Drains, or, asked again, ends at once with status 1."""
        draining = asyncio.create_task(self._service.stop())
        again = asyncio.create_task(self._again.wait())
        await asyncio.wait({draining, again}, return_when=asyncio.FIRST_COMPLETED)
        if draining.done():
            again.cancel()
            await draining
            return 0
        await self._service.kill()
        await draining
        return 1
