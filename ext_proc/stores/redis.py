"""The store on a Redis (7 or newer) or Valkey server, through the functions of `functions.lua`."""

import asyncio
import hashlib
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec
from hiredis import pack_command
from redis.asyncio.connection import ConnectionPool
from redis.exceptions import ResponseError

from headrace.ext_proc.core.ledger import Admitted, Charge, Closed, Closing, Exhausted, Fixed, Held, Spent, Unit, Window
from headrace.ext_proc.core.ports import StoreUnavailable
from headrace.ext_proc.stores.arguments import (
    check_closings,
    check_counters,
    check_names,
    check_ttl,
    check_windows,
    checked_spent,
    tightest,
)
from headrace.ext_proc.stores.link import ConnectionLost, Link, Reply

TIMEOUT_S = 0.5
"""Bounds one attempt to connect and one reply; well below the 1 s a filter may take."""
SOURCE = Path(__file__).with_name("functions.lua").read_bytes()
VERSION = hashlib.sha256(SOURCE).hexdigest()[:12].encode()
LIBRARY = SOURCE.replace(b"VERSION", VERSION)

_MISSING = "Function not found"
_OVERTAKEN = "LEASE"
_encode = msgspec.msgpack.Encoder().encode


@dataclass(frozen=True, slots=True)
class Group:
    """The counters behind one key, as the functions take them: the charges of one fixed window, or one sliding counter.

    ends: of a fixed window, epoch ms, else 0. length: of a sliding one, ms, else 0. places: where its charges stand in the caller's
    sequence.
    """

    key: str
    ends: int
    length: int
    fields: tuple[str, ...]
    units: tuple[str, ...]
    places: tuple[int, ...]
    ordinals: tuple[int, ...]
    """The places, counted from one, as Lua counts."""


class RedisStore:
    """A `Store` over one connection; to be used within one event loop."""

    def __init__(self, url: str, *, timeout_s: float = TIMEOUT_S) -> None:
        """`url`: unix://, redis:// or rediss://, with redis-py's query options. Raises ValueError for a URL that is none.

        Nothing is sent before the first call.
        """
        pool = ConnectionPool.from_url(
            url, protocol=2, decode_responses=False, driver_info=None, socket_timeout=None, socket_connect_timeout=timeout_s
        )
        self._link = Link(pool.make_connection, timeout_s=timeout_s)

    async def reserve(
        self, organisation: str, lease: str, charges: Sequence[Charge], *, now_ms: int, ttl_ms: int
    ) -> Admitted | Exhausted:
        check_names(organisation, lease)
        groups = _groups_of(organisation, charges, now_ms)
        check_ttl(ttl_ms)
        keys = [_lease_key(organisation, lease), *(group.key for group in groups)]
        told = (now_ms, ttl_ms, [_told(group, charges) for group in groups])
        try:
            reply = await self._function(b"reserve", keys, told)
        except ResponseError as error:
            if str(error).startswith(_OVERTAKEN):
                raise ValueError(f"lease {lease} was released before it was reserved") from None
            raise StoreUnavailable(f"the store refused: {error}") from error
        return _answer(reply)

    async def settle(self, organisation: str, lease: str, spent: Spent, *, now_ms: int) -> bool:
        check_names(organisation, lease)
        return bool(await self._plain(b"settle", [_lease_key(organisation, lease)], (now_ms, checked_spent(spent))))

    async def release(self, organisation: str, lease: str, *, now_ms: int) -> bool:
        check_names(organisation, lease)
        return bool(await self._plain(b"release", [_lease_key(organisation, lease)], (now_ms,)))

    async def extend(
        self, organisation: str, lease: str, amounts: Spent, *, now_ms: int, ttl_ms: int
    ) -> Admitted | Exhausted | None:
        raise StoreUnavailable("this store cannot extend leases")

    async def settle_many(self, organisation: str, closings: Sequence[Closing], *, now_ms: int) -> Sequence[Closed]:
        check_closings(organisation, closings)
        return [Closed(applied) for applied in await asyncio.gather(*(self._closed(organisation, it, now_ms) for it in closings))]

    def _closed(self, organisation: str, closing: Closing, now_ms: int) -> Coroutine[Any, Any, bool]:
        if closing.spent is None:
            return self.release(organisation, closing.lease, now_ms=now_ms)
        return self.settle(organisation, closing.lease, closing.spent, now_ms=now_ms)

    async def read(self, organisation: str, charges: Sequence[Charge], *, now_ms: int) -> tuple[int, ...]:
        check_names(organisation, "read")
        groups = _groups_of(organisation, charges, now_ms)
        told = (now_ms, [(group.length, group.fields, group.ordinals) for group in groups])
        return tuple(await self._plain(b"read", [group.key for group in groups], told))

    async def get_key(self, digest: str) -> bytes | None:
        value: bytes | None = await self._sent(_packed(b"GET", _api_key(digest)))
        return value

    async def put_key(self, digest: str, value: bytes) -> None:
        await self._sent(_packed(b"SET", _api_key(digest), value))

    async def ping(self) -> None:
        await self._plain(b"read", [], (0, []))

    async def close(self) -> None:
        await self._link.close()

    async def _plain(self, name: bytes, keys: Sequence[str], told: Any) -> Reply:
        try:
            return await self._function(name, keys, told)
        except ResponseError as error:
            raise StoreUnavailable(f"the store refused: {error}") from error

    async def _sent(self, command: bytes) -> Reply:
        try:
            return await self._call(command)
        except ResponseError as error:
            raise StoreUnavailable(f"the store refused: {error}") from error

    async def _function(self, name: bytes, keys: Sequence[str], told: Any) -> Reply:
        """Call one of our functions; a server that has none, new or flushed or failed over, is given them first."""
        command = _packed(b"FCALL", b"headrace_%s_%s" % (VERSION, name), len(keys), *keys, _encode(told))
        try:
            return await self._call(command)
        except ResponseError as error:
            if _MISSING not in str(error):
                raise
        await self._load()
        return await self._call(command)

    async def _load(self) -> None:
        try:
            await self._call(_packed(b"FUNCTION", b"LOAD", LIBRARY))
        except ResponseError as error:
            if "already exists" not in str(error):  # another worker was first
                raise

    async def _call(self, command: bytes) -> Reply:
        """Every command of ours may be repeated: a lease is charged, settled and released once."""
        try:
            return await self._link.call(command)
        except ConnectionLost:
            return await self._link.call(command)


def _packed(*parts: str | bytes | int) -> bytes:
    packed: bytes = pack_command(parts)  # type: ignore[arg-type]  # its stub knows only tuples of one
    return packed


@lru_cache(maxsize=1024)
def _prefix(organisation: str) -> str:
    """The hash tag keeps an organisation in one slot; quoting keeps a brace or colon in its name from ending it early."""
    return f"hr:{{{quote(organisation, safe='')}}}:"


def _lease_key(organisation: str, lease: str) -> str:
    return f"{_prefix(organisation)}lease:{lease}"


def _api_key(digest: str) -> str:
    return f"hr:key:{digest}"


Counter = tuple[Window, Unit, str]


def _groups_of(organisation: str, charges: Sequence[Charge], now_ms: int) -> Sequence[Group]:
    """Raises ValueError as check_windows and check_counters do."""
    check_windows(charges, now_ms)
    return _grouped(organisation, tuple([(charge.window, charge.unit, charge.counter) for charge in charges]))


@lru_cache(maxsize=4096)
def _grouped(organisation: str, counters: Sequence[Counter]) -> Sequence[Group]:
    """Counters by the key that holds them, in the order they come; a caller's requests of one minute share the work."""
    check_counters(counters)
    places: dict[str, list[int]] = {}
    for place, counter in enumerate(counters):
        places.setdefault(_window_key(organisation, counter), []).append(place)
    return [_group(key, counters, tuple(found)) for key, found in places.items()]


def _group(key: str, counters: Sequence[Counter], places: tuple[int, ...]) -> Group:
    window = counters[places[0]][0]
    if isinstance(window, Held):
        raise StoreUnavailable("this store cannot count what runs at once")
    return Group(
        key,
        ends=window.end_ms if isinstance(window, Fixed) else 0,
        length=0 if isinstance(window, Fixed) else window.length_ms,
        fields=tuple(_field(counters[place]) for place in places),
        units=tuple(counters[place][1] for place in places),
        places=places,
        ordinals=tuple(place + 1 for place in places),
    )


def _window_key(organisation: str, counter: Counter) -> str:
    window = counter[0]
    if isinstance(window, Fixed):
        return f"{_prefix(organisation)}fixed:{window.start_ms}-{window.end_ms}"
    if isinstance(window, Held):
        return f"{_prefix(organisation)}held:{_field(counter)}"
    return f"{_prefix(organisation)}sliding:{window.length_ms}:{_field(counter)}"


def _field(counter: Counter) -> str:
    return f"{counter[1]}:{counter[2]}"


def _told(group: Group, charges: Sequence[Charge]) -> Sequence[object]:
    """{ends, length, fields, units, limits, amounts, places}, see functions.lua."""
    own = [charges[place] for place in group.places]
    limits, amounts = [charge.limit for charge in own], [charge.amount for charge in own]
    return (group.ends, group.length, group.fields, group.units, limits, amounts, group.ordinals)


def _answer(reply: Sequence[int]) -> Admitted | Exhausted:
    if reply[0]:
        return Admitted(tuple(reply[1:]))
    return tightest(reply[1::2], reply[2::2])
