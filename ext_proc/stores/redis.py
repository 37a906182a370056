"""The store on a Redis (7 or newer) or Valkey server, through the functions of `functions.lua`."""

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import msgspec
from hiredis import pack_command

from headrace.ext_proc.core.ledger import EMPTY, Admitted, Charge, Closed, Closing, Entry, Exhausted, Record, Spent
from headrace.ext_proc.core.ports import REFUSED, StoreUnavailable
from headrace.ext_proc.core.roster import MARKS_MAX, ROSTER_MAX, Changes, Listed, Seen
from headrace.ext_proc.engine.imports import UNUSED, absent
from headrace.ext_proc.stores.arguments import check_closings, check_names, check_ttl, checked_spent, entry_id, full, new_mark
from headrace.ext_proc.stores.wire import (
    answer,
    changes,
    closed,
    closing_told,
    entry,
    groups_of,
    lease_key,
    ledger_key,
    listed,
    open_key,
    plan_of,
    roster_keys,
    words_of,
)

with absent(*UNUSED):
    from redis.exceptions import ClusterDownError, MasterDownError, OutOfMemoryError, ReadOnlyError, ResponseError, TryAgainError

    from headrace.ext_proc.stores.link import Reply
    from headrace.ext_proc.stores.url import nodes_of

TIMEOUT_S = 0.5
"""Bounds one attempt to connect and one reply; well below the 1 s a filter may take, so that the filter says what happens then."""
SOURCE = Path(__file__).with_name("functions.lua").read_bytes()
VERSION = hashlib.sha256(SOURCE).hexdigest()[:12].encode()
LIBRARY = SOURCE.replace(b"VERSION", VERSION)

_NOBODY = "-"
"""An organisation that has nothing to settle at the time 0."""
_MISSING = "Function not found"
_OVERTAKEN = "LEASE"
_encode = msgspec.msgpack.Encoder().encode


class RedisStore:
    """A `Store` over one connection to each server; to be used within one event loop."""

    def __init__(self, url: str, *, timeout_s: float = TIMEOUT_S) -> None:
        """`url`: as of nodes_of, with redis-py's query options. Raises ValueError for a URL that is none.

        Nothing is sent before the first call.
        """
        self._nodes = nodes_of(url, timeout_s=timeout_s)

    async def reserve(
        self, organisation: str, lease: str, charges: Sequence[Charge], *, now_ms: int, ttl_ms: int, record: Record = EMPTY
    ) -> Admitted | Exhausted:
        check_names(organisation, lease)
        plan = plan_of(organisation, charges, now_ms)
        check_ttl(ttl_ms)
        keys = [lease_key(organisation, lease), *plan.keys, *_books(organisation)]
        args = (now_ms, ttl_ms, [charge.amount for charge in charges])
        try:
            reply = await self._function(b"reserve", keys, args, plan.packed, _encode(words_of(record)) if record else b"")
        except ResponseError as error:
            if str(error).startswith(_OVERTAKEN):
                raise ValueError(f"lease {lease} was released before it was reserved") from None
            raise _refused(error) from error
        return answer(reply)

    async def extend(
        self, organisation: str, lease: str, amounts: Spent, *, now_ms: int, ttl_ms: int
    ) -> Admitted | Exhausted | None:
        check_names(organisation, lease)
        check_ttl(ttl_ms)
        reply = await self._plain(
            b"extend", [lease_key(organisation, lease), open_key(organisation)], (now_ms, ttl_ms, checked_spent(amounts))
        )
        return answer(reply) if reply else None

    async def settle_many(self, organisation: str, closings: Sequence[Closing], *, now_ms: int) -> Sequence[Closed]:
        check_closings(organisation, closings)
        if not closings:
            return []
        keys = [*_books(organisation), *(lease_key(organisation, closing.lease) for closing in closings)]
        replies = await self._plain(b"settle", keys, (now_ms, [closing_told(closing) for closing in closings]))
        return [closed(organisation, reply) for reply in replies]

    async def read(self, organisation: str, charges: Sequence[Charge], *, now_ms: int) -> tuple[int, ...]:
        check_names(organisation, "read")
        groups = groups_of(organisation, charges, now_ms)
        args = (now_ms, [(group.length, group.fields, group.ordinals) for group in groups])
        return tuple(await self._plain(b"read", [group.key for group in groups], args))

    async def entries(self, organisation: str, *, after: str = "", limit: int = 1000) -> Sequence[Entry]:
        check_names(organisation, "entries")
        time, number = entry_id(after)
        start = f"({time}-{number}" if time >= 0 else "-"
        found = await self._sent(ledger_key(organisation), _packed(b"XRANGE", ledger_key(organisation), start, "+", "COUNT", limit))
        return [entry(one) for one in found]

    async def enrol(self, roster: str, id: str, value: bytes, *, revision: int = 0) -> int:
        check_names(roster, id)
        reply: int = await self._plain(b"enrol", roster_keys(roster), (id, revision, ROSTER_MAX, new_mark(), MARKS_MAX), value)
        if reply < 0:
            raise full()
        return reply

    async def listed(self, roster: str, id: str) -> Listed | None:
        check_names(roster, id)
        found = listed(await self._plain(b"listed", roster_keys(roster), (id,)))
        return found[0] if found else None

    async def listed_since(self, roster: str, revision: int, *, limit: int = 1000) -> Sequence[Listed]:
        check_names(roster, "since")
        return listed(await self._plain(b"since", roster_keys(roster), (revision, limit)))

    async def changes(self, roster: str, seen: Seen, *, limit: int = 1000) -> Changes:
        check_names(roster, "changes")
        return changes(await self._plain(b"changes", roster_keys(roster), (seen.revision, seen.mark, limit)))

    async def time_ms(self) -> int:
        seconds, microseconds = await self._sent("", _packed(b"TIME"))
        return int(seconds) * 1000 + int(microseconds) // 1000

    async def ping(self) -> None:
        """Asks for a write of nothing: a server that is full, or a replica, refuses that, too."""
        await self._plain(b"settle", _books(_NOBODY), (0, []))

    async def evicts(self) -> str:
        """By which policy the server drops keys when its memory is full; empty where it drops none, or does not say.

        Of a cluster, the node that has slot 0. Raises StoreUnavailable.
        """
        try:
            told = await self._nodes.call("", _packed(b"INFO", b"memory"))
        except ResponseError:  # managed servers may not let us ask
            return ""
        lines = dict(line.split(":", 1) for line in told.decode().splitlines() if ":" in line)
        policy = lines.get("maxmemory_policy", "noeviction")
        return "" if policy == "noeviction" or lines.get("maxmemory", "0") == "0" else policy

    async def close(self) -> None:
        await self._nodes.close()

    async def _plain(self, name: bytes, keys: Sequence[str], args: Any, *raw: bytes) -> Reply:
        try:
            return await self._function(name, keys, args, *raw)
        except ResponseError as error:
            raise _refused(error) from error

    async def _sent(self, key: str, command: bytes) -> Reply:
        try:
            return await self._nodes.call(key, command)
        except ResponseError as error:
            raise _refused(error) from error

    async def _function(self, name: bytes, keys: Sequence[str], args: Any, *raw: bytes) -> Reply:
        """Call one of our functions; a server that has none, new or flushed or failed over, is given them first.

        Every call of ours may be repeated: a lease is charged, settled and released once, a record put once. raw: any bytes, which
        the server's MessagePack does not know.
        """
        key = keys[0] if keys else ""
        command = _packed(b"FCALL", b"headrace_%s_%s" % (VERSION, name), len(keys), *keys, _encode(args), *raw)
        try:
            return await self._nodes.call(key, command)
        except ResponseError as error:
            if _MISSING not in str(error):
                raise
        await self._load(key)
        return await self._nodes.call(key, command)

    async def _load(self, key: str) -> None:
        try:
            await self._nodes.call(key, _packed(b"FUNCTION", b"LOAD", LIBRARY))
        except ResponseError as error:
            if "already exists" not in str(error):  # another worker was first
                raise


_CODES: Final = {
    ClusterDownError: "CLUSTERDOWN",
    MasterDownError: "MASTERDOWN",
    OutOfMemoryError: "OOM",
    ReadOnlyError: "READONLY",
    TryAgainError: "TRYAGAIN",
}
"""How the server's reply began: the library makes a class of it, and leaves it out of the words."""


def _refused(error: ResponseError) -> StoreUnavailable:
    """In the server's words; by how they begin it is told whether it will do later."""
    code = _CODES.get(type(error), "")
    return StoreUnavailable(f"{REFUSED}{code} {error}" if code else f"{REFUSED}{error}")


@lru_cache(1024)
def _books(organisation: str) -> tuple[str, str]:
    return ledger_key(organisation), open_key(organisation)


def _packed(*parts: str | bytes | int) -> bytes:
    packed: bytes = pack_command(parts)  # type: ignore[arg-type]  # its stub knows only tuples of one
    return packed
