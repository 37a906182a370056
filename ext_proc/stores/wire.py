"""Where counters live in the server, and how the functions of `functions.lua` are told of them and answer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from math import inf
from operator import attrgetter
from typing import Any, NamedTuple
from urllib.parse import quote

import msgspec

from headrace.ext_proc.core.ledger import (
    HELD,
    UNITS,
    Admitted,
    Charge,
    Closed,
    Closing,
    Entry,
    Exhausted,
    Fixed,
    Held,
    Reached,
    Sliding,
    Spent,
    Unit,
    Window,
)
from headrace.ext_proc.core.roster import Changes, Listed, Seen
from headrace.ext_proc.stores.arguments import check_counters, check_windows, outcome_of, tightest

Reply = Sequence[int]


@dataclass(frozen=True, slots=True)
class Group:
    """The counters behind one key, as the functions take them: the charges of one fixed window, or one sliding counter.

    ends: of a fixed window, epoch ms, else 0. length: of a sliding one, ms; -1 for what is held; else 0. places: where its
    charges stand in the caller's sequence.
    """

    key: str
    ends: int
    length: int
    fields: tuple[str, ...]
    units: tuple[str, ...]
    places: tuple[int, ...]
    ordinals: tuple[int, ...]
    """The places, counted from one, as Lua counts."""


@lru_cache(maxsize=1024)
def _prefix(organisation: str) -> str:
    """The hash tag keeps an organisation in one slot; quoting keeps a brace or colon in its name from ending it early."""
    return f"hr:{{{quote(organisation, safe='')}}}:"


def lease_key(organisation: str, lease: str) -> str:
    return f"{_prefix(organisation)}lease:{lease}"


def roster_keys(roster: str) -> tuple[str, str, str]:
    """Its records, their revisions, and marks of the last ones; not in any organisation's slot."""
    prefix = f"hr:roster:{{{quote(roster, safe='')}}}:"
    return f"{prefix}records", f"{prefix}revisions", f"{prefix}marks"


def open_key(organisation: str) -> str:
    return f"{_prefix(organisation)}open"


def ledger_key(organisation: str) -> str:
    return f"{_prefix(organisation)}ledger"


Counter = tuple[Window, Unit, str]


def groups_of(organisation: str, charges: Sequence[Charge], now_ms: int) -> Sequence[Group]:
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
    return Group(
        key,
        ends=window.end_ms if isinstance(window, Fixed) else 0,
        length=_length(window),
        fields=tuple(_field(counters[place]) for place in places),
        units=tuple(counters[place][1] for place in places),
        places=places,
        ordinals=tuple(place + 1 for place in places),
    )


def _length(window: Window) -> int:
    if isinstance(window, Held):
        return -1
    return window.length_ms if isinstance(window, Sliding) else 0


def _window_key(organisation: str, counter: Counter) -> str:
    window = counter[0]
    if isinstance(window, Fixed):
        return f"{_prefix(organisation)}fixed:{window.start_ms}-{window.end_ms}"
    if isinstance(window, Held):
        return f"{_prefix(organisation)}held:{_field(counter)}"
    return f"{_prefix(organisation)}sliding:{window.length_ms}:{_field(counter)}"


def _field(counter: Counter) -> str:
    return f"{counter[1]}:{counter[2]}"


class Plan(NamedTuple):
    """Where a lease is charged, whatever the amounts. keys: one per group. packed: for the functions, see functions.lua.

    Every fixed window holds the instants from `start_ms` to before `end_ms`.
    """

    keys: tuple[str, ...]
    packed: bytes
    start_ms: float
    end_ms: float


Bound = tuple[int, tuple[int, ...]]
"""Limit and thresholds of a counter."""
Place = tuple[Window, Unit, str, int, tuple[int, ...]]
"""A charge but for its amount: a Counter, and its Bound."""
_place = attrgetter("window", "unit", "counter", "limit", "warn")


def plan_of(organisation: str, charges: Sequence[Charge], now_ms: int) -> Plan:
    """Raises ValueError as check_windows and check_counters do."""
    plan = _planned(organisation, tuple(map(_place, charges)))
    if not plan.start_ms <= now_ms < plan.end_ms:
        check_windows(charges, now_ms)
    return plan


@lru_cache(maxsize=4096)
def _planned(organisation: str, places: Sequence[Place]) -> Plan:
    """A caller's requests of one minute share the plan, and the server unpacks it once."""
    groups = _grouped(organisation, tuple(place[:3] for place in places))
    bounds = [place[3:] for place in places]
    windows = [place[0] for place in places if isinstance(place[0], Fixed)]
    return Plan(
        keys=tuple(group.key for group in groups),
        packed=_encode([_told(group, bounds) for group in groups]),
        start_ms=max((window.start_ms for window in windows), default=-inf),
        end_ms=min((window.end_ms for window in windows), default=inf),
    )


def _told(group: Group, bounds: Sequence[Bound]) -> Sequence[object]:
    """{key, ends, length, fields, units, limits, places, warn}, see functions.lua."""
    limits, warn = zip(*(bounds[place] for place in group.places), strict=True)
    thresholds = warn if any(warn) else False
    return (group.key, group.ends, group.length, group.fields, group.units, limits, group.ordinals, thresholds)


_encode = msgspec.msgpack.Encoder().encode


def answer(reply: Reply) -> Admitted | Exhausted:
    if reply[0]:
        return Admitted(tuple(reply[1:]))
    return tightest(reply[1::2], reply[2::2])


def closing_told(closing: Closing) -> Sequence[object]:
    """{spent or false, outcome, {name, value, ...}, by}, see functions.lua. The record may name its own outcome."""
    spent: Spent | bool = False if closing.spent is None else {**closing.spent}
    return (spent, outcome_of(closing), words_of(closing.record), closing.by)


def words_of(record: Mapping[str, str]) -> Sequence[str]:
    """{name, value, ...}, without the outcome."""
    if "outcome" in record:
        record = {name: value for name, value in record.items() if name != "outcome"}
    return [*chain.from_iterable(record.items())]


def closed(organisation: str, reply: Sequence[object]) -> Closed:
    applied, *found = reply
    return Closed(bool(applied), tuple(_reached(organisation, one) for one in found if isinstance(one, Sequence)))


def _reached(organisation: str, found: Sequence[object]) -> Reached:
    """{key, field, limit, threshold, used}"""
    key, field, limit, threshold, used = found
    assert isinstance(key, bytes) and isinstance(field, bytes), "as functions.lua has them"
    unit, _, counter = field.decode().partition(":")
    window = _window_of(key.decode().removeprefix(_prefix(organisation)))
    return Reached(counter, _UNITS[unit], int(str(limit)), int(str(threshold)), int(str(used)), window)


def entry(found: Sequence[object]) -> Entry:
    """{id, {name, value, ...}}, as the server gives a stream's records."""
    name, members = found
    assert isinstance(name, bytes) and isinstance(members, list), "as XRANGE has them"
    words = [word.decode() for word in members]
    return Entry(name.decode(), dict(zip(words[::2], words[1::2], strict=True)))


def listed(reply: Sequence[Any]) -> Sequence[Listed]:
    """{id, record, revision, ...}, see functions.lua."""
    return [Listed(id.decode(), value, revision) for id, value, revision in zip(reply[::3], reply[1::3], reply[2::3], strict=True)]


def changes(reply: Sequence[Any]) -> Changes:
    """{lost, revision, mark, {id, record, revision, ...}}, see functions.lua."""
    lost, revision, mark, found = reply
    return Changes(listed(found), Seen(revision, mark.decode()), bool(lost))


_UNITS: Mapping[str, Unit] = {unit: unit for unit in UNITS}


def _window_of(name: str) -> Window:
    """The other direction of `_window_key`."""
    kind, _, rest = name.partition(":")
    if kind == "fixed":
        start, _, end = rest.partition("-")
        return Fixed(int(start), int(end))
    return Sliding(int(rest.partition(":")[0])) if kind == "sliding" else HELD
