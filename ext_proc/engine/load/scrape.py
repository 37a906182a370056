"""Reading the servers' metrics: all at once, each within the interval, a bounded answer, and silence where one does not answer."""

import asyncio
import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from headrace.ext_proc.core.ports import Clock
from headrace.ext_proc.engine.load.board import Board
from headrace.ext_proc.engine.load.metrics import Engine, MetricsError, snapshot

if TYPE_CHECKING:
    import httpx

log = logging.getLogger(__name__)

MAX_EXPOSITION: Final = 4 * 1024 * 1024
"""Bytes. vLLM's has some hundred kilobytes."""

AT_ONCE: Final = 64
"""Servers asked at the same time."""


class Target(Struct, frozen=True):
    """A server's metrics page and the engine whose names it uses."""

    url: str
    engine: Engine


class Scraper:
    """Follows the servers of the policy in force. A server that cannot be read is left to grow stale, and said once."""

    def __init__(self, board: Board, clock: Clock) -> None:
        self._board = board
        self._clock = clock
        self._targets: Mapping[str, Target] = {}
        self._silent: set[str] = set()
        self._changed = asyncio.Event()

    def follow(self, targets: Mapping[str, Target]) -> None:
        """These servers from now on, at once."""
        self._targets = targets
        self._board.follow(targets)
        self._changed.set()

    async def run(self) -> None:
        """Reads until cancelled."""
        while not self._targets:
            self._changed.clear()
            await self._changed.wait()
        import httpx  # 7 MB with its certificates, for policies that name metrics

        seconds = self._board.interval_ms / 1000
        limits = httpx.Limits(max_connections=AT_ONCE)
        async with httpx.AsyncClient(timeout=seconds, limits=limits, trust_env=False) as client:
            while True:
                self._changed.clear()
                await asyncio.gather(*(self._read(client, name, target) for name, target in self._targets.items()))
                wait = seconds if self._targets else None
                try:
                    await asyncio.wait_for(self._changed.wait(), wait)
                except TimeoutError:
                    continue

    async def _read(self, client: "httpx.AsyncClient", name: str, target: Target) -> None:
        import httpx

        asked_ms = self._clock.now_ms()
        try:
            async with asyncio.timeout(self._board.interval_ms / 1000):
                found = snapshot(await _fetched(client, target.url), target.engine)
        except (httpx.HTTPError, MetricsError, TimeoutError) as error:
            self._say(name, target, error)
        else:
            self._silent.discard(name)
            self._board.read(name, found, asked_ms)

    def _say(self, name: str, target: Target, error: Exception) -> None:
        if name not in self._silent:
            self._silent.add(name)
            detail = str(error) or type(error).__name__
            log.warning("metrics are not read: the server counts as full", extra={"url": target.url, "detail": detail})


async def _fetched(client: "httpx.AsyncClient", url: str) -> str:
    """Raises MetricsError for an answer that is too large or none, and httpx.HTTPError."""
    async with client.stream("GET", url) as answer:
        if answer.status_code != 200:
            raise MetricsError(f"the answer has status {answer.status_code}")
        body = bytearray()
        async for chunk in answer.aiter_bytes():
            body += chunk
            if len(body) > MAX_EXPOSITION:
                raise MetricsError(f"the answer has more than {MAX_EXPOSITION} bytes")
    return body.decode("utf-8", "replace")
