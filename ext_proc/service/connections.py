"""A connection to the admin interface, as uvicorn serves it, with an end for those that ask for nothing."""

import asyncio
from typing import Final

from uvicorn.protocols.http.h11_impl import H11Protocol

ASKING_S: Final = 10.0
"""For the first request's head. Probes that connect and say nothing must not take the supervisor's descriptors: without them no
worker is replaced. Between two requests uvicorn waits 5 s."""


class Connection(H11Protocol):
    """Ended where no request has come in ASKING_S."""

    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._timer = self.loop.call_later(ASKING_S, self._end_unless_asked)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        super().connection_lost(exc)

    def _end_unless_asked(self) -> None:
        if self.cycle is None:
            self.transport.abort()
