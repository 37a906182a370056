"""API keys in the store: a roster of their records, by key id."""

import logging

from headrace.ext_proc.core.ports import Store
from headrace.ext_proc.core.roster import Listed
from headrace.ext_proc.engine.keys import KeyRecord

ROSTER = "keys"

log = logging.getLogger(__name__)


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
