"""What operators change about budgets while the policy stays: raises, other limits, resets. Kept in a roster of the store."""

import logging
from collections.abc import Iterator, Mapping, Sequence, Set
from typing import Literal
from weakref import WeakValueDictionary

import msgspec
from msgspec import Struct, field

from headrace.ext_proc.core.json_body import NO_JSON
from headrace.ext_proc.core.ledger import AMOUNT_MAX, Charge, Spent, Unit
from headrace.ext_proc.core.ports import Clock, Store
from headrace.ext_proc.core.roster import Listed
from headrace.ext_proc.engine.budgets.limits import Slot
from headrace.ext_proc.engine.following import Follower

ROSTER = "budgets"
Kind = Literal["raise", "set", "reset"]
Place = tuple[str, str, str]
"""Organisation, budget, and counter, which is empty for every counter of the budget."""

State = Literal["pending", "in_force", "rejected", "ended"]

log = logging.getLogger(__name__)


class Event(Struct, frozen=True):
    """Something that was done: requested, approved, rejected, ended. by: who did it. at_ms: epoch."""

    what: str
    by: str
    at_ms: int


class Adjustment(Struct, frozen=True):
    """One change of one budget, of one organisation.

    counter: the one it concerns, as in Charge.counter; empty: every caller's of the budget. whom: the same for people, by level.
    amount: in whole units of the store; of a raise and a reset what is added to the limit, else the limit itself. It counts while
    it is in force, from `from_ms` until `until_ms` (epoch). history: what was done, the oldest first.
    """

    id: str
    organisation: str
    budget: str
    unit: Unit
    kind: Kind
    amount: int
    from_ms: int
    until_ms: int
    state: State
    counter: str = ""
    whom: Mapping[str, str] = field(default_factory=dict)
    reason: str = ""
    history: tuple[Event, ...] = ()

    def counts(self, now_ms: int) -> bool:
        return self.state == "in_force" and self.from_ms <= now_ms < self.until_ms


def packed(adjustment: Adjustment) -> bytes:
    return msgspec.json.encode(adjustment)


def unpacked(listed: Listed) -> Adjustment | None:
    """None, and a word in the log, for a record that is none: a newer release's, or damaged."""
    try:
        adjustment = msgspec.json.decode(listed.value, type=Adjustment)
    except NO_JSON:
        adjustment = None
    if adjustment is None or adjustment.id != listed.id or not 0 <= adjustment.amount <= AMOUNT_MAX:
        log.error("an adjustment of a budget in the store cannot be read; it does not count", extra={"adjustment": listed.id[:80]})
        return None
    return adjustment


class Adjustments:
    """Those that may count, for the counters they concern."""

    def __init__(self) -> None:
        self._of: dict[Place, dict[str, Adjustment]] = {}
        self._place: dict[str, Place] = {}

    def take(self, listed: Listed) -> None:
        """A record that is new or changed."""
        self._drop(listed.id)
        adjustment = unpacked(listed)
        if adjustment is not None and adjustment.state == "in_force":
            place = adjustment.organisation, adjustment.budget, adjustment.counter
            self._place[listed.id] = place
            self._of.setdefault(place, {})[listed.id] = adjustment

    def keep(self, ids: Set[str]) -> None:
        """Those with other ids are no more."""
        for id in self._place.keys() - ids:
            self._drop(id)

    def _drop(self, id: str) -> None:
        if place := self._place.pop(id, None):
            del self._of[place][id]
            if not self._of[place]:
                del self._of[place]

    def of(self, organisation: str, slot: Slot, now_ms: int) -> Sequence[Adjustment]:
        """Those that count now for a counter, the oldest first."""
        if not self._of:
            return ()
        return sorted(self._counting(organisation, slot, now_ms), key=_age)

    def _counting(self, organisation: str, slot: Slot, now_ms: int) -> Iterator[Adjustment]:
        for counter in ("", slot.counter):
            for adjustment in self._of.get((organisation, slot.limit.name, counter), {}).values():
                if adjustment.counts(now_ms) and adjustment.unit == slot.limit.unit:
                    yield adjustment

    def __bool__(self) -> bool:
        return bool(self._of)

    def limit(self, organisation: str, slot: Slot, now_ms: int) -> int:
        """The limit of a counter: the policy's, or the one set last, and all that was added to it."""
        return limit_of(slot.limit.limit, self.of(organisation, slot, now_ms))


def limit_of(limit: int, adjustments: Sequence[Adjustment]) -> int:
    """A limit with those that count, the oldest first."""
    added = sum(one.amount for one in adjustments if one.kind != "set")
    others = [one.amount for one in adjustments if one.kind == "set"]
    return min((others[-1] if others else limit) + added, AMOUNT_MAX)


def _age(adjustment: Adjustment) -> tuple[int, str]:
    """Since when it has been in force."""
    return adjustment.history[-1].at_ms if adjustment.history else 0, adjustment.id


# A reload must not read them all again. They live as long as a policy that has them, and hold their store: no other has its id.
_known: "WeakValueDictionary[int, FollowedAdjustments]" = WeakValueDictionary()


def followed(store: Store, clock: Clock) -> "FollowedAdjustments":
    """Those in `store`, shared with the policy in force."""
    known = _known.get(id(store))
    if known is None:
        known = _known[id(store)] = FollowedAdjustments(store, clock)
    return known


class FollowedAdjustments:
    """A process's adjustments, followed in the store: a change counts everywhere within LATE_MS."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._adjustments = Adjustments()
        self._follower = Follower(store, clock, ROSTER, self._adjustments.take, self._adjustments.keep)

    def charges(self, organisation: str, slots: Sequence[Slot], amounts: Spent, now_ms: int) -> Sequence[Charge]:
        """What a request draws, under the limits that count now."""
        if not self._adjustments:
            return [slot.charge(amounts) for slot in slots]
        return [slot.charge(amounts, self._adjustments.limit(organisation, slot, now_ms)) for slot in slots]

    async def fresh(self) -> None:
        """What cannot be asked of the store stays as it is known: it refuses to reserve, too."""
        if self._follower.is_late:
            await self._follower.look()
