"""The audit log of one worker, on its event loop: records gather while the disk has the last batch, and go out together."""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter
from typing import Any, Final, Protocol

from headrace.ext_proc.audit.chain import Chain, Pending
from headrace.ext_proc.audit.errors import AuditError, AuditUnavailable
from headrace.ext_proc.audit.terms import Terms
from headrace.ext_proc.audit.vault import tenant_of

log = logging.getLogger(__name__)

WAITING: Final = 65_536
"""Records that may wait for the disk, a kilobyte or two each."""
WAITING_BYTES: Final = 128 * 1024 * 1024
"""Of bodies that wait with them."""
AT_ONCE, AT_ONCE_BYTES = 4096, 4 * 1024 * 1024
"""Records, and bytes of their bodies, in a batch: some ten milliseconds of work, so that what comes next does not wait for long."""
BATCH_S: Final = 0.05
"""Seconds between two batches where nobody waits for one."""
FIRST_RETRY, LAST_RETRY = 0.1, 5.0
"""Seconds between tries of a batch that the disk does not take."""
ALIVE_S: Final = 60.0
DROPPED: Final = "dropped"
"""Kind of a record that says how many were lost before it."""


class Meters(Protocol):
    """What the writer tells of itself."""

    def written(self, records: int, size: int, seconds: float) -> None:
        """A batch is on disk: how long that took."""
        ...

    def dropped(self, records: int) -> None: ...

    def failed(self) -> None:
        """A batch was not written; where requests wait, it is tried again."""
        ...


class AuditLog:
    """Over a chain, which it writes on a thread of its own. lost: records that were lost and counted before there was one."""

    def __init__(self, chain: Chain, now_ms: Callable[[], int], meters: Meters, lost: int = 0) -> None:
        self.terms: Terms = chain.terms
        self._chain = chain
        self._now_ms = now_ms
        self._meters = meters
        self._waiting: list[Pending] = []
        self._bytes = 0
        self._under_way = 0
        self._lost = lost
        self._futures: dict[int, asyncio.Future[None]] = {}
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="audit")
        self._some, self._due = asyncio.Event(), asyncio.Event()
        self._closing = False
        self._task = asyncio.create_task(self._run(), name="audit")

    @property
    def depth(self) -> int:
        """Records that are not on disk yet."""
        return len(self._waiting) + self._under_way

    def write(self, kind: str, members: Mapping[str, Any], parts: Mapping[str, bytes] | None = None) -> None:
        """On the loop; never waits. A record that finds the queue full is dropped and counted."""
        self._put(self.pending(kind, members, parts))

    async def commit(self, kind: str, members: Mapping[str, Any], parts: Mapping[str, bytes] | None = None) -> None:
        """As `committed`."""
        await self.committed(self.pending(kind, members, parts))

    async def committed(self, pending: Pending) -> None:
        """Returns when the record is on disk. Raises AuditUnavailable when it is not within `wait_ms`; then it is withdrawn.

        Where the caller is cancelled, it is withdrawn unless a batch has it already.
        """
        if not self._put(pending):
            pending.withdrawn = True
            raise AuditUnavailable("too many records wait for the disk")
        future = self._futures[id(pending)] = asyncio.get_running_loop().create_future()
        self._due.set()
        try:
            async with asyncio.timeout(self.terms.settings.wait_ms / 1000):
                await future
        except TimeoutError:
            pending.withdrawn = True
            self._drop(1)
            raise AuditUnavailable("the disk did not take the record in time") from None
        except asyncio.CancelledError:
            pending.withdrawn = not pending.taken
            raise
        finally:
            self._futures.pop(id(pending), None)

    async def close(self) -> None:
        """What waits is tried once more; then the chain is complete. Raises nothing."""
        self._closing = True
        self._some.set()
        self._due.set()
        await self._task
        try:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._chain.close)
        except (OSError, AuditError) as error:
            log.error("audit log not closed", extra={"detail": str(error)})
        self._thread.shutdown()

    def pending(self, kind: str, members: Mapping[str, Any], parts: Mapping[str, bytes] | None) -> Pending:
        """A record as of now, for `committed`."""
        return Pending(
            self._now_ms(), kind, members, tenant_of(members, self.terms.settings.keys_per) if parts else (), parts or {}
        )

    def _put(self, pending: Pending) -> bool:
        if self._closing or len(self._waiting) >= WAITING or self._bytes + pending.size > WAITING_BYTES:
            self._drop(1)
            return False
        self._waiting.append(pending)
        self._bytes += pending.size
        self._some.set()
        return True

    def _drop(self, count: int) -> None:
        self._lost += count
        self._meters.dropped(count)

    async def _run(self) -> None:
        """Until it is closed: a batch as soon as somebody waits, else every BATCH_S."""
        alive, pause = self._now_ms(), FIRST_RETRY
        while not self._closing:
            await self._until_due()
            if self._waiting and not await self._batch():
                await asyncio.sleep(pause)
                pause = min(pause * 2, LAST_RETRY)
                continue
            pause = FIRST_RETRY
            if self._now_ms() - alive >= ALIVE_S * 1000:
                alive = self._now_ms()
                await self._keep()
        while self._waiting and await self._batch():
            pass
        if self._lost and not self._waiting:
            await self._batch()  # nothing but their number
        self._drop(len(self._waiting))

    async def _until_due(self) -> None:
        if not self._waiting:
            await _within(ALIVE_S, self._some)
        if self._waiting and not self._futures:
            await _within(BATCH_S, self._due)
        if not self._closing:
            self._some.clear()
            self._due.clear()

    async def _batch(self) -> bool:
        """Whether what waited is dealt with: written, or, where nobody waits, dropped."""
        batch = self._next()
        lost, self._lost = self._lost, 0
        note = [Pending(self._now_ms(), DROPPED, {"records": lost})] if lost else []
        self._under_way = len(batch)
        try:
            await self._written([*note, *batch])
        except (OSError, AuditError) as error:
            self._lost += lost
            self._failed(error, batch)
            return not self.terms.blocks
        finally:
            self._under_way = 0
        for pending in batch:
            if (future := self._futures.get(id(pending))) is not None and not future.done():
                future.set_result(None)
        return True

    def _next(self) -> list[Pending]:
        """What goes out together."""
        count = size = 0
        while count < len(self._waiting) and count < AT_ONCE and size < AT_ONCE_BYTES:
            size += self._waiting[count].size
            count += 1
        batch, self._waiting = self._waiting[:count], self._waiting[count:]
        self._bytes -= size
        for pending in batch:
            pending.taken = True
        return batch

    async def _written(self, batch: list[Pending]) -> None:
        started = perf_counter()
        written = await asyncio.get_running_loop().run_in_executor(self._thread, self._chain.write, batch)
        self._meters.written(sum(not pending.withdrawn for pending in batch), written, perf_counter() - started)

    def _failed(self, error: Exception, batch: list[Pending]) -> None:
        log.error("audit log not written", extra={"detail": str(error), "records": len(batch)})
        self._meters.failed()
        for pending in batch:
            pending.taken = False
        if self.terms.blocks:
            self._waiting = [*(pending for pending in batch if not pending.withdrawn), *self._waiting]
            self._bytes = sum(pending.size for pending in self._waiting)
        else:
            self._drop(len(batch))

    async def _keep(self) -> None:
        try:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._chain.keep)
        except (OSError, AuditError) as error:
            log.error("audit log not kept", extra={"detail": str(error)})
            self._meters.failed()


async def _within(seconds: float, event: asyncio.Event) -> None:
    """Returns when it is set, or after so long."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
