"""How a worker leaves without cutting anyone off: unready first, then no new streams, then the open ones to their end."""

import asyncio
import logging
from time import monotonic

from headrace.ext_proc.envoy.processor import Processor
from headrace.ext_proc.envoy.transport import Server
from headrace.ext_proc.service.control import Drain

log = logging.getLogger(__name__)

NOTICE_S = 3.0
"""Our Envoy configuration asks every second and believes the second refusal."""
WATCHED_S = 10.0
"""A proxy that has not asked for so long does not watch, and there is nobody to give notice to."""
LINGER_S = 1.5
"""Envoy sends its access log once a second; the entries of the last streams come after the streams."""
LOOK_S = 0.05


class Draining:
    """The worker's readiness, and its way out."""

    def __init__(self, processor: Processor) -> None:
        self._processor = processor
        self._leaving = False
        self._asked = float("-inf")

    def ready(self) -> bool:
        """What the gRPC health service answers; called at every check."""
        self._asked = monotonic()
        return not self._leaving

    async def run(self, server: Server, order: Drain) -> None:
        """Returns when every stream has ended, after the notice and the seconds ordered at most."""
        self._leaving = True
        log.info("draining", extra={"streams": self._processor.active, "seconds": order.seconds})
        if order.notice and monotonic() - self._asked < WATCHED_S:
            await asyncio.sleep(NOTICE_S)
        stopping = asyncio.create_task(server.stop(order.seconds))
        quiet = asyncio.create_task(self._quiet())
        await asyncio.wait({stopping, quiet}, return_when=asyncio.FIRST_COMPLETED)
        quiet.cancel()
        if cut := self._processor.active:
            log.warning("streams were cut off", extra={"streams": cut})
        await server.stop(0)  # the access log's stream never ends by itself
        await stopping

    async def _quiet(self) -> None:
        """Returns when no exchange is open and the access log has had time to tell of the last ones."""
        while self._processor.active:  # noqa: ASYNC110  the count is kept for the hot path's sake, without an event
            await asyncio.sleep(LOOK_S)
        await asyncio.sleep(LINGER_S)
