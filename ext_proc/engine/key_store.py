"""API keys in the store: a roster of their records, by key id, and the changes that are made to it."""

import logging
from collections.abc import Callable
from datetime import datetime

from headrace.ext_proc.core.errors import HeadraceError
from headrace.ext_proc.core.ports import Store
from headrace.ext_proc.core.roster import Listed
from headrace.ext_proc.engine.key_changes import FreshKey, revoked
from headrace.ext_proc.engine.keys import KeyRecord

ROSTER = "keys"

log = logging.getLogger(__name__)


class NoKey(HeadraceError):
    """The store has no key of that id."""


class Overtaken(HeadraceError):
    """Somebody else has changed the key at the same time; what was asked for was not done."""


def packed(key: KeyRecord) -> bytes:
    return key.model_dump_json(exclude_defaults=True).encode()


def unpacked(listed: Listed) -> KeyRecord | None:
    """None, and a word in the log, for a record that is no key: a newer release's, or damaged."""
    try:
        key = KeyRecord.model_validate_json(listed.value, strict=True)
    except ValueError:
        key = None
    if key is None or key.id != listed.id:
        log.error("a key in the store cannot be read; nobody is admitted by it", extra={"key": listed.id[:80]})
        return None
    return key


async def put_key(store: Store, key: KeyRecord, *, revision: int = 0) -> int:
    """As `Store.enrol`."""
    return await store.enrol(ROSTER, key.id, packed(key), revision=revision)


async def find_key(store: Store, id: str) -> tuple[KeyRecord, int]:
    """The key and its revision. Raises NoKey and StoreUnavailable."""
    listed = await store.listed(ROSTER, id) if id else None
    key = unpacked(listed) if listed else None
    if listed is None or key is None:
        raise NoKey(f"the store has no key {id[:80]!r}")
    return key, listed.revision


async def rotate_key(store: Store, id: str, turn: Callable[[KeyRecord], tuple[FreshKey, KeyRecord]]) -> tuple[FreshKey, KeyRecord]:
    """turn: a new key and the old one as it ends, see `key_changes.rotated`. The new one is put first: whatever fails after that,
    the old one goes on; where it was changed meanwhile, the new one is revoked.

    Raises NoKey, Overtaken, RosterFull, StoreUnavailable and what `turn` does.
    """
    old, revision = await find_key(store, id)
    fresh, ending = turn(old)
    put = await put_key(store, fresh.record)
    if not await put_key(store, ending, revision=revision):
        await put_key(store, fresh.record.model_copy(update={"disabled": True}), revision=put)
        raise _overtaken(id)
    return fresh, ending


async def revoke_key(store: Store, id: str, now: datetime, by: str) -> KeyRecord:
    """Raises NoKey, Overtaken and StoreUnavailable."""
    key, revision = await find_key(store, id)
    ended = revoked(key, now, by)
    if not await put_key(store, ended, revision=revision):
        raise _overtaken(id)
    return ended


def _overtaken(id: str) -> Overtaken:
    return Overtaken(f"{id} was changed by somebody else at the same time; look at it, and decide anew")
