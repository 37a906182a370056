"""API keys in the store, followed: a worker has all of them, and looks for changes while requests come."""

import asyncio
from weakref import WeakValueDictionary

from headrace.ext_proc.core.headers import Headers
from headrace.ext_proc.core.ports import Clock, Store, StoreUnavailable
from headrace.ext_proc.core.roster import Listed
from headrace.ext_proc.engine.key_store import ROSTER, unpacked
from headrace.ext_proc.engine.keys import PREFIX, digest
from headrace.filters.identity.sources import Entry, Finding

LOOK_MS = 1000
"""Then the next request has the store asked for changes, and does not wait for the answer."""
LATE_MS = 2000
"""Then a request waits for it: so long after a key was revoked, no worker takes it any more."""
AGAIN_MS = 1000
"""After a look that failed, before a request waits for another."""
PAGE = 1000
"""Records of one call: some 250 KB, and some 10 ms of the worker's time."""


class KeyRoster:
    """The store's keys, by digest. One look at a time, however many wait; nothing runs but a look."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store, self._clock = store, clock
        self._entries: dict[str, Entry] = {}
        self._digests: dict[str, str] = {}
        self._revision = 0
        self._as_of_ms: float = float("-inf")
        """Changes made before this instant are known."""
        self._failed_ms: float = float("-inf")
        self._looking: asyncio.Task[bool] | None = None

    async def find(self, wanted: str, *, stale_ms: int) -> Entry | None:
        """The key with this digest; one that is unknown may have been made just now, and is looked for.

        Raises StoreUnavailable when the store does not answer and what is known is `stale_ms` old, or has no such key.
        """
        age_ms = self._clock.now_ms() - self._as_of_ms
        if not 0 <= age_ms < LATE_MS:
            await self._look_or_believe(stale_ms)
        elif age_ms >= LOOK_MS:
            self._start()
        return self._entries.get(wanted) or await self._made_just_now(wanted)

    async def _look_or_believe(self, stale_ms: int) -> None:
        now_ms = self._clock.now_ms()
        if not self._has_failed(now_ms) and await self._look():
            return
        if not 0 <= now_ms - self._as_of_ms < stale_ms:
            raise StoreUnavailable("the keys in the store cannot be read")

    async def _made_just_now(self, wanted: str) -> Entry | None:
        """After a look that begins now, shared by all who ask at once."""
        if self._has_failed(self._clock.now_ms()):
            raise StoreUnavailable("whether there is such a key cannot be asked")
        if self._looking is not None and not self._looking.done():
            await self._look()
        if not await self._look():
            raise StoreUnavailable("whether there is such a key cannot be asked")
        return self._entries.get(wanted)

    def _has_failed(self, now_ms: int) -> bool:
        return self._failed_ms <= now_ms < self._failed_ms + AGAIN_MS

    async def _look(self) -> bool:
        """Whether the look that is under way, else a new one, succeeded. Who gives up leaves it to the others."""
        return await asyncio.shield(self._start())

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
        self._as_of_ms = now_ms
        return True

    async def _take_page(self) -> int:
        page = await self._store.listed_since(ROSTER, self._revision, limit=PAGE)
        for listed in page:
            self._take(listed)
        return len(page)

    def _take(self, listed: Listed) -> None:
        self._entries.pop(self._digests.pop(listed.id, ""), None)
        if (key := unpacked(listed)) is not None:
            self._entries[key.digest], self._digests[key.id] = Entry.of(key), key.digest
        self._revision = listed.revision


# A reload must not read all keys again. Entries live as long as a policy that has them, and hold their store: no other has its id.
_known: WeakValueDictionary[int, KeyRoster] = WeakValueDictionary()


def key_roster(store: Store, clock: Clock) -> KeyRoster:
    """The keys in `store`, shared with the policy in force."""
    known = _known.get(id(store))
    if known is None:
        known = _known[id(store)] = KeyRoster(store, clock)
    return known


class StoreKeys:
    """API keys in the store. stale_ms: how long what is known is believed while the store does not answer."""

    name = "api_keys"
    reads: tuple[str, ...] = ()

    def __init__(self, roster: KeyRoster, pepper: bytes, clock: Clock, *, stale_ms: int) -> None:
        self._roster, self._pepper, self._clock, self._stale_ms = roster, pepper, clock, stale_ms

    async def find(self, headers: Headers, credential: str | None) -> Finding:
        """Raises StoreUnavailable. What does not begin as keys do is none of the store's: tokens of others cause no look."""
        if not credential or not credential.startswith(PREFIX):
            return None
        entry = await self._roster.find(digest(self._pepper, credential), stale_ms=self._stale_ms)
        return entry.finding(self._clock.now_ms()) if entry else None
