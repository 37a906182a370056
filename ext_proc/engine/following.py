"""Follows a roster of the store: a process has all of its records, and looks for changes while it is asked for them."""

import asyncio
import logging
from collections.abc import Callable, Set

from headrace.ext_proc.core.ports import Clock, Store, StoreUnavailable
from headrace.ext_proc.core.roster import Listed, Seen

LOOK_MS = 1000
"""Then whoever asks next has the store asked for changes, and does not wait for the answer."""
LATE_MS = 2000
"""Then whoever asks waits for it: so long after a change, no process goes by what was before."""
AGAIN_MS = 1000
"""After a look that failed, before anybody waits for another."""
PAGE = 1000
"""Records of one call: some 250 KB, and some 10 ms of the loop's time."""

log = logging.getLogger(__name__)


class Follower:
    """take: called with every record that is new or changed, in the order of their revisions. One look at a time.

    keep: called with the ids of all records when the store had lost changes and all were taken again: others are no more.
    """

    def __init__(
        self, store: Store, clock: Clock, roster: str, take: Callable[[Listed], None], keep: Callable[[Set[str]], None]
    ) -> None:
        self._store, self._clock, self._roster, self._take, self._keep = store, clock, roster, take, keep
        self._seen = Seen()
        self._anew: set[str] | None = None
        """The ids that have come, while all records are read again."""
        self._as_of_ms: float = float("-inf")
        """Changes made before this instant are known."""
        self._failed_ms: float = float("-inf")
        self._looking: asyncio.Task[bool] | None = None

    @property
    def is_late(self) -> bool:
        """Whether one should wait for `look`. Begins a look that nobody waits for where it is time for one."""
        age_ms = self.age_ms
        if not 0 <= age_ms < LATE_MS:
            return not self._has_failed
        if age_ms >= LOOK_MS:
            self._start()
        return False

    @property
    def age_ms(self) -> float:
        """How long ago everything that had been changed was known; below 0 where the clock was put back."""
        return self._clock.now_ms() - self._as_of_ms

    @property
    def _has_failed(self) -> bool:
        return self._failed_ms <= self._clock.now_ms() < self._failed_ms + AGAIN_MS

    async def look(self) -> bool:
        """Whether the look that is under way, else a new one, succeeded. Who gives up leaves it to the others."""
        return await asyncio.shield(self._start())

    async def look_anew(self) -> bool:
        """Whether a look that begins now succeeded, shared by all who ask at once. Not tried just after one has failed."""
        if self._has_failed:
            return False
        if self._looking is not None and not self._looking.done():
            await self.look()
        return await self.look()

    def _start(self) -> asyncio.Task[bool]:
        if self._looking is None or self._looking.done():
            self._looking = asyncio.get_running_loop().create_task(self._run(self._clock.now_ms()))
        return self._looking

    async def _run(self, now_ms: int) -> bool:
        try:
            while await self._take_page() == PAGE:
                pass
        except StoreUnavailable:
            self._failed_ms = now_ms
            return False
        if self._anew is not None:
            self._keep(self._anew)
            self._anew = None
        self._as_of_ms = now_ms
        return True

    async def _take_page(self) -> int:
        changes = await self._store.changes(self._roster, self._seen, limit=PAGE)
        if changes.lost:
            log.warning("the store has lost changes that were in force; all records are read again", extra={"roster": self._roster})
            self._anew = set()
        for listed in changes.records:
            self._take(listed)
        if self._anew is not None:
            self._anew.update(listed.id for listed in changes.records)
        self._seen = changes.seen
        return len(changes.records)
