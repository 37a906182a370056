"""API keys in the store, followed: a worker has all of them, and looks for changes while requests come."""

import logging
from collections.abc import Set
from weakref import WeakValueDictionary

import msgspec

from headrace.ext_proc.core.json_body import NO_JSON
from headrace.ext_proc.core.ports import Clock, Store, StoreUnavailable
from headrace.ext_proc.core.request import Request
from headrace.ext_proc.core.roster import Listed
from headrace.ext_proc.engine.following import LATE_MS, Follower
from headrace.ext_proc.engine.key_store import ROSTER, unpacked
from headrace.ext_proc.engine.keys import PREFIX, digest
from headrace.filters.identity.sources import Entry, Finding

log = logging.getLogger(__name__)


class _Marked(msgspec.Struct):
    """What is read of a record when it comes; the rest is, when a caller shows the key: 100,000 of them come at once."""

    digest: str


_marked = msgspec.json.Decoder(_Marked).decode


class KeyRoster:
    """The store's keys, by digest, followed: see Follower."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._known: dict[str, Listed | Entry] = {}
        self._digests: dict[str, str] = {}
        self._follower = Follower(store, clock, ROSTER, self._take, self._keep)

    async def find(self, wanted: str, *, stale_ms: int) -> Entry | None:
        """The key with this digest; one that is unknown may have been made just now, and is looked for.

        Raises StoreUnavailable when the store does not answer and what is known is `stale_ms` old, or has no such key.
        """
        if self._follower.is_late:
            await self._follower.look()
        if not 0 <= self._follower.age_ms < max(stale_ms, LATE_MS):
            raise StoreUnavailable("the keys in the store cannot be read")
        return self._entry(wanted) or await self._made_just_now(wanted)

    async def _made_just_now(self, wanted: str) -> Entry | None:
        if not await self._follower.look_anew():
            raise StoreUnavailable("whether there is such a key cannot be asked")
        return self._entry(wanted)

    def _entry(self, wanted: str) -> Entry | None:
        known = self._known.get(wanted)
        if isinstance(known, Listed):
            key = unpacked(known)
            known = Entry.of(key) if key else None
            if known is not None:
                self._known[wanted] = known
        return known

    def _take(self, listed: Listed) -> None:
        self._known.pop(self._digests.pop(listed.id, ""), None)
        try:
            mark = _marked(listed.value).digest
        except NO_JSON:
            log.error("a key in the store cannot be read; nobody is admitted by it", extra={"key": listed.id[:80]})
            return
        self._known[mark], self._digests[listed.id] = listed, mark

    def _keep(self, ids: Set[str]) -> None:
        """Keys with other ids are no more. One that came back under another id is still known by its digest."""
        self._digests = {id: mark for id, mark in self._digests.items() if id in ids}
        marks = set(self._digests.values())
        self._known = {mark: known for mark, known in self._known.items() if mark in marks}


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

    async def find(self, request: Request, credential: str | None) -> Finding:
        """Raises StoreUnavailable. What does not begin as keys do is none of the store's: tokens of others cause no look."""
        if not credential or not credential.startswith(PREFIX):
            return None
        entry = await self._roster.find(digest(self._pepper, credential), stale_ms=self._stale_ms)
        return entry.finding(self._clock.now_ms()) if entry else None
