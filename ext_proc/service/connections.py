"""A connection to the admin interface, as uvicorn serves it, with an end for those that keep it waiting."""

import asyncio
from typing import Final

from uvicorn.protocols.http.h11_impl import H11Protocol

ASKING_S: Final = 10.0
"""For a request's head. Probes that connect and say nothing, or half of it, must not take the supervisor's descriptors: without
them no worker is replaced. uvicorn itself ends a connection only where nothing at all comes for 5 s between two requests."""
TAKING_S: Final = 60.0
"""For an answer that has not all gone, and the next request's head."""


class Connection(H11Protocol):
    """Ended where it is the peer's turn for ASKING_S, or TAKING_S."""

    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        self._unwatch()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._watch()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._watch()

    def _watch(self) -> None:
        """What comes of a request's head, or goes of an answer, gains the peer no time until it is whole."""
        if not self._is_peers_turn():
            self._unwatch()
        elif self._timer is None:
            lasts = TAKING_S if self.transport.get_write_buffer_size() else ASKING_S
            self._timer = self.loop.call_later(lasts, self.transport.abort)

    def _unwatch(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _is_peers_turn(self) -> bool:
        return self.cycle is None or self.cycle.response_complete or self.flow.write_paused
