"""What operators do about budgets: look, raise, set, reset, approve. The command line and the admin API call this alone."""

import secrets
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

from msgspec import structs

from headrace.ext_proc.core.errors import HeadraceError
from headrace.ext_proc.core.ledger import AMOUNT_MAX, Fixed, Unit
from headrace.ext_proc.core.ports import Clock, Store
from headrace.ext_proc.core.principal import LEVELS, Principal, is_part
from headrace.ext_proc.core.roster import Listed
from headrace.ext_proc.engine.budgets.adjustments import ROSTER, Adjustment, Adjustments, Event, Kind, limit_of, packed, unpacked
from headrace.ext_proc.engine.budgets.limits import MINUTE_MS, Limit, Slot
from headrace.ext_proc.engine.prices import NANO

Whom = Mapping[str, str]
"""Whom a counter is of: a value for each level of the budget, and `organisation` where it is not the default one."""
MOST_REASON = 500
"""Characters of a reason, and of a name of who does something."""
LAST_MS = 253_402_300_799_000
"""The last second of the year 9999, UTC: what ends later can nobody be shown."""


class DeskError(HeadraceError):
    """What was asked for cannot be done. code: stable, for programs: unknown_budget, invalid, conflict, not_found, not_yours."""

    def __init__(self, code: str, message: str) -> None:
        self.code = code
        super().__init__(message)


@dataclass(frozen=True)
class Standing:
    """How one counter stands, in whole units of the store. limit: with the adjustments that count. resets_at_ms: epoch; None where
    nothing resets it: of a sliding window, and of what runs at once.
    """

    budget: str
    organisation: str
    whom: Whom
    unit: Unit
    every: str
    used: int
    limit: int
    policy_limit: int
    resets_at_ms: int | None
    adjustments: Sequence[Adjustment]

    @property
    def remaining(self) -> int:
        return max(self.limit - self.used, 0)


@dataclass(frozen=True)
class Change:
    """What is asked for. whom: empty for every caller of the budget. amount: in the budget's own unit, as people write it: 0.50 is
    half a dollar, 5000 tokens. until_ms: epoch; None for the end of the window that is running. by: who asks.
    """

    kind: Kind
    budget: str
    by: str
    amount: str = "0"
    organisation: str = "default"
    whom: Whom | None = None
    until_ms: int | None = None
    reason: str = ""
    needs_approval: bool = False


class Desk:
    """Over the budgets of a policy. Every method raises StoreUnavailable, and DeskError with what would be right."""

    def __init__(self, limits: Sequence[Limit], store: Store, clock: Clock) -> None:
        self._limits = limits
        self._store = store
        self._clock = clock

    async def show(self, organisation: str, callers: Iterable[Whom], budget: str | None = None) -> Sequence[Standing]:
        """The counters of each caller, of every budget or of one, as far as the caller names the budget's levels; each once."""
        limits = [self._limit(budget)] if budget is not None else self._limits
        now_ms = self._clock.now_ms()
        named = [(limit, whom) for whom in callers for limit in limits if {*limit.per} - {"organisation"} <= {*whom}]
        pairs = [(_slot(limit, organisation, whom, now_ms), whom) for limit, whom in named]
        slots = {slot.counter: (slot, whom) for slot, whom in pairs}
        adjustments = await self._adjustments()
        return [await self._standing(organisation, *one, adjustments, now_ms) for one in slots.values()]

    async def request(self, change: Change) -> Adjustment:
        """Put a change in force, or have it wait for somebody else's approval."""
        limit = self._limit(change.budget)
        _check_words(change.by, change.reason)
        now_ms = self._clock.now_ms()
        slot = _slot(limit, change.organisation, change.whom or {}, now_ms) if _names_somebody(change, limit) else None
        amount = _amount(limit.unit, change.amount) if change.kind != "reset" else 0
        until_ms = self._until(change, limit, now_ms)
        _check(change, limit, slot, amount)
        adjustment = Adjustment(
            id=f"adj_{secrets.token_hex(6)}",
            organisation=change.organisation,
            budget=limit.name,
            unit=limit.unit,
            kind=change.kind,
            amount=amount,
            from_ms=now_ms,
            until_ms=until_ms,
            state="pending",
            counter=slot.counter if slot else "",
            whom=dict(change.whom or {}) if slot else {},
            reason=change.reason,
            history=(Event("requested", change.by, now_ms),),
        )
        if not change.needs_approval:
            adjustment = await self._in_force(adjustment)
        await self._store.enrol(ROSTER, adjustment.id, packed(adjustment))
        return adjustment

    async def approve(self, id: str, by: str) -> Adjustment:
        """By somebody other than who asked for it."""
        return await self._decide(id, by, "approved", self._in_force)

    async def reject(self, id: str, by: str) -> Adjustment:
        async def rejected(adjustment: Adjustment) -> Adjustment:
            return structs.replace(adjustment, state="rejected")

        return await self._decide(id, by, "rejected", rejected)

    async def end(self, id: str, by: str) -> Adjustment:
        """Before its time; what was admitted under it stays admitted."""
        adjustment, revision = await self._found(id)
        if adjustment.state != "in_force" or adjustment.until_ms <= self._clock.now_ms():
            raise DeskError("conflict", f"{id} is not in force")
        ended = structs.replace(adjustment, state="ended", history=(*adjustment.history, self._event("ended", by)))
        return await self._kept(ended, revision)

    async def adjustments(self, organisation: str | None = None) -> Sequence[Adjustment]:
        """All there ever were, of one organisation or of all, the latest request first: the audit trail of budgets."""
        known = [one for one in (unpacked(listed) for listed in await self._listed()) if one is not None]
        wanted = [one for one in known if organisation in (None, one.organisation)]
        return sorted(wanted, key=lambda one: one.history[0].at_ms if one.history else 0, reverse=True)

    # --- how ---------------------------------------------------------------------------------------------------------------

    def _limit(self, name: str) -> Limit:
        found = next((limit for limit in self._limits if limit.name == name), None)
        if found is None:
            known = ", ".join(limit.name for limit in self._limits) or "none"
            raise DeskError("unknown_budget", f"the policy has no budget {name!r}; there is {known}")
        return found

    async def _standing(self, organisation: str, slot: Slot, whom: Whom, adjustments: Adjustments, now_ms: int) -> Standing:
        (used,) = await self._store.read(organisation, [slot.charge({slot.limit.unit: 0})], now_ms=now_ms)
        counting = adjustments.of(organisation, slot, now_ms)
        limit, window = slot.limit, slot.window
        resets = window.end_ms if isinstance(window, Fixed) else None
        named: Whom = {str(level): whom.get(level, "") for level in limit.per if level != "organisation"}
        standing = limit_of(limit.limit, counting)
        return Standing(limit.name, organisation, named, limit.unit, limit.every, used, standing, limit.limit, resets, counting)

    def _until(self, change: Change, limit: Limit, now_ms: int) -> int:
        window = _slot(limit, change.organisation, {}, now_ms).window
        if change.until_ms is None and isinstance(window, Fixed):
            return window.end_ms
        if change.until_ms is None:
            raise DeskError("invalid", f"the budget {limit.name!r} has no window that ends; say until when it is to count")
        if change.until_ms <= now_ms:
            raise DeskError("invalid", "it would have ended before it began; give a later time")
        if change.until_ms > LAST_MS:
            raise DeskError("invalid", "it would end after the year 9999, UTC; give an earlier time")
        return change.until_ms

    async def _in_force(self, adjustment: Adjustment) -> Adjustment:
        """From now on; a reset adds to the limit what has been used by now, and ends with the window.

        Running requests count as they are reserved, for counters do not tell the two apart. Without them the reset would give less
        than the limit once they settle; with them it gives besides what they leave unused.
        """
        now_ms = self._clock.now_ms()
        begun = structs.replace(adjustment, state="in_force", from_ms=now_ms)
        if adjustment.kind != "reset":
            return begun
        slot = _slot(self._limit(adjustment.budget), adjustment.organisation, adjustment.whom, now_ms)
        assert isinstance(slot.window, Fixed), "a reset is of a window that ends"
        standing = await self._standing(adjustment.organisation, slot, adjustment.whom, await self._adjustments(), now_ms)
        earlier = sum(one.amount for one in standing.adjustments if one.kind == "reset")
        return structs.replace(begun, amount=max(standing.used - earlier, 0), until_ms=slot.window.end_ms)

    async def _decide(self, id: str, by: str, what: str, become: Callable[[Adjustment], Awaitable[Adjustment]]) -> Adjustment:
        adjustment, revision = await self._found(id)
        if adjustment.state != "pending":
            raise DeskError("conflict", f"{id} is {adjustment.state.replace('_', ' ')} already")
        _check_words(by, "")
        if by == adjustment.history[0].by:
            raise DeskError("not_yours", f"{by!r} asked for {id}; somebody else must decide it")
        if adjustment.until_ms <= self._clock.now_ms():
            raise DeskError("conflict", f"the time of {id} has passed")
        decided = structs.replace(adjustment, history=(*adjustment.history, self._event(what, by)))
        return await self._kept(await become(decided), revision)

    def _event(self, what: str, by: str) -> Event:
        return Event(what, by, self._clock.now_ms())

    async def _found(self, id: str) -> tuple[Adjustment, int]:
        listed = await self._store.listed(ROSTER, id) if id else None
        adjustment = unpacked(listed) if listed else None
        if listed is None or adjustment is None:
            raise DeskError("not_found", f"there is no adjustment {id!r}")
        return adjustment, listed.revision

    async def _kept(self, adjustment: Adjustment, revision: int) -> Adjustment:
        if not await self._store.enrol(ROSTER, adjustment.id, packed(adjustment), revision=revision):
            raise DeskError("conflict", f"somebody else has just decided {adjustment.id}; look at it again")
        return adjustment

    async def _adjustments(self) -> Adjustments:
        known = Adjustments()
        for listed in await self._listed():
            known.take(listed)
        return known

    async def _listed(self) -> Sequence[Listed]:
        found: list[Listed] = []
        while page := await self._store.listed_since(ROSTER, found[-1].revision if found else 0):
            found += page
        return found


def _names_somebody(change: Change, limit: Limit) -> bool:
    """Else the change is of every counter that the budget has in the organisation."""
    return bool(change.whom) or not set(limit.per) - {"organisation"}


def _slot(limit: Limit, organisation: str, whom: Whom, now_ms: int) -> Slot:
    parts = {level: value for level, value in whom.items() if level in LEVELS and value}
    principal = Principal(**{"organisation": organisation, **parts})
    return limit.slot(principal, whom.get("model", ""), now_ms // MINUTE_MS)


def _check(change: Change, limit: Limit, slot: Slot | None, amount: int) -> None:
    wanted = set(limit.per) - {"organisation"}
    given = set(change.whom or {})
    if slot is not None and given != wanted:
        per = ", ".join(f"{level}=…" for level in limit.per if level != "organisation") or "nobody"
        raise DeskError("invalid", f"the budget {limit.name!r} counts per {', '.join(limit.per)}; name {per}")
    if wrong := [value for value in (change.organisation, *(change.whom or {}).values()) if not is_part(value)]:
        raise DeskError("invalid", f"{wrong[0]!r} cannot be a name")
    if change.kind == "raise" and not amount:
        raise DeskError("invalid", "a raise needs an amount")
    if change.kind == "reset" and not isinstance(_slot(limit, change.organisation, {}, 0).window, Fixed):
        raise DeskError("invalid", f"what the budget {limit.name!r} counts leaves it by itself; raise it instead")
    if change.kind == "reset" and slot is None:
        per = ", ".join(f"{level}=…" for level in limit.per)
        raise DeskError("invalid", f"a reset is of one counter; name whose: {per}")


def _check_words(by: str, reason: str) -> None:
    if not by.strip() or not by.isprintable() or len(by) > MOST_REASON:
        raise DeskError("invalid", "who does it must be named, in printable characters")
    if len(reason) > MOST_REASON:
        raise DeskError("invalid", f"a reason has at most {MOST_REASON} characters")


def _amount(unit: Unit, text: str) -> int:
    """In whole units of the store."""
    try:
        number = Decimal(text) * (NANO if unit == "nano_usd" else 1)
    except InvalidOperation:
        number = Decimal("NaN")
    whole = int(number) if number.is_finite() and 0 <= number <= AMOUNT_MAX else -1
    if whole < 0 or whole != number:
        what = "an amount in USD, such as 12.50" if unit == "nano_usd" else f"a whole number of {unit.replace('_', ' ')}"
        raise DeskError("invalid", f"{text!r} is not {what}")
    return whole
