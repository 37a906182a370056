"""What every store refuses before it does anything, so that all of them refuse the same."""

import re
import secrets
from collections.abc import Iterable, Sequence

from headrace.ext_proc.core.ledger import AMOUNT_MAX, Charge, Closing, Exhausted, Fixed, Held, Spent, Unit, Window, bounded
from headrace.ext_proc.core.roster import ROSTER_MAX, RosterFull

CHARGES_MAX = 256
"""Counters of one lease. Lua hands them to the server on its stack, which holds a few thousand values."""


def check_names(organisation: str, lease: str) -> None:
    """Raises ValueError for an empty organisation (its keys would share no slot) or lease."""
    if not organisation or not lease:
        raise ValueError(f"organisation {organisation!r} and lease {lease!r} must not be empty")


def check_charges(charges: Sequence[Charge], now_ms: int) -> None:
    """Raises ValueError as check_counters and check_windows do."""
    check_counters([(charge.window, charge.unit, charge.counter) for charge in charges])
    check_windows(charges, now_ms)


def check_counters(counters: Sequence[tuple[Window, Unit, str]]) -> None:
    """Raises ValueError for a counter named twice, too many of them, or a unit whose window is not its own."""
    if len(counters) > CHARGES_MAX:
        raise ValueError(f"{len(counters)} charges in one lease; at most {CHARGES_MAX}")
    if len(set(counters)) != len(counters):
        raise ValueError("a counter is named twice in one lease: " + ", ".join(name for _, _, name in counters))
    for window, unit, name in counters:
        if isinstance(window, Held) != (unit == "concurrency"):
            raise ValueError(f"{name}: concurrency is counted while leases run, {unit} is counted over {window}")


def check_windows(charges: Sequence[Charge], now_ms: int) -> None:
    """Raises ValueError for a fixed window that does not hold `now_ms`."""
    for charge in charges:
        window = charge.window
        if isinstance(window, Fixed) and not window.start_ms <= now_ms < window.end_ms:
            raise ValueError(f"{charge.counter}: the window {window} does not hold {now_ms}")


def check_ttl(ttl_ms: int) -> None:
    """Raises ValueError for a lease that would lapse at once, or outlive what is counted exactly."""
    if not 1 <= ttl_ms <= AMOUNT_MAX // 2:
        raise ValueError(f"ttl_ms: {ttl_ms} is not in 1..{AMOUNT_MAX // 2}")


def checked_spent(spent: Spent) -> dict[Unit, int]:
    """A copy of `spent`. Raises ValueError for an amount outside 0..2**53."""
    return {unit: bounded(unit, amount) for unit, amount in spent.items()}


def check_closings(organisation: str, closings: Sequence[Closing]) -> None:
    """Raises ValueError as check_names and checked_spent do."""
    for closing in closings:
        check_names(organisation, closing.lease)
        checked_spent(closing.spent or {})


def tightest(remaining: Iterable[int], resets: Sequence[int]) -> Exhausted:
    """The refusal that lasts longest. resets[i]: epoch ms, or 0 where the i-th counter could hold its charge."""
    latest = max(resets)
    return Exhausted(resets.index(latest), tuple(remaining), latest)


_ENTRY = re.compile(r"(\d{1,16})(?:-(\d{1,16}))?", re.ASCII)


def entry_id(after: str) -> tuple[int, int]:
    """The id of the last record that is not wanted, (-1, 0) for "". Raises ValueError for what is no id."""
    if not after:
        return (-1, 0)
    match = _ENTRY.fullmatch(after)
    if match is None:
        raise ValueError(f"after: {after[:40]!r} is neither the id of a record (1795000000000-0) nor a time in epoch milliseconds")
    time, number = match.groups()
    return (int(time), int(number)) if number else (int(time) - 1, 2**53)


def outcome_of(closing: Closing) -> str:
    """What the ledger calls the end of this lease; its record may know better."""
    return closing.record.get("outcome", "released" if closing.spent is None else "settled")


def full() -> RosterFull:
    return RosterFull(f"there are {ROSTER_MAX:,} records, the most a roster holds; one more cannot be added")


def new_mark() -> str:
    """For a revision of a roster: see Seen."""
    return secrets.token_hex(8)
