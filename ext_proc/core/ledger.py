"""What a budget charges and what the store answers: values only, no I/O.

A *counter* is one name in one unit over one window. A *lease* draws an amount from several counters at once: `reserve`
charges all of them or none, `extend` charges more. To settle it is to correct the charge to what was used, to release it is to
take the charge back.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal, TypeAlias, get_args

from msgspec import Struct, field

Unit = Literal["tokens", "input_tokens", "output_tokens", "nano_usd", "requests", "concurrency"]
UNITS: tuple[Unit, ...] = get_args(Unit)

# Lua computes in doubles: up to here every integer is exact, so this is the largest amount, limit and counter there is.
AMOUNT_MAX = 2**53

# What an exchange really used, by unit. A unit that is absent is unknown: its reserved amount stands.
Spent: TypeAlias = Mapping[Unit, int]


# What the ledger's stream keeps of a lease, besides time and outcome: name → value.
Record: TypeAlias = Mapping[str, str]
EMPTY: Record = MappingProxyType({})


def bounded(name: str, value: int) -> int:
    """`value` if it is an exact amount, 0 to 2**53.

    Raises ValueError for anything else.
    """
    if not 0 <= value <= AMOUNT_MAX:
        raise ValueError(f"{name}: {value} is not in 0..{AMOUNT_MAX}")
    return value


class Fixed(Struct, frozen=True):
    """A calendar window: instants with `start_ms <= now_ms < end_ms` (epoch milliseconds) share one counter."""

    start_ms: int
    end_ms: int


class Sliding(Struct, frozen=True):
    """The last `length_ms` milliseconds.

    Kept in 60 buckets, conservatively: an amount counts for at least `length_ms` and for at most one bucket longer.
    """

    length_ms: int

    def __post_init__(self) -> None:
        if self.length_ms < 1:
            raise ValueError(f"length_ms: {self.length_ms} is not a positive number of milliseconds")


class Held(Struct, frozen=True):
    """No time at all: the counter holds what leases draw on it until each is settled, released, or lapses."""


Window = Fixed | Sliding | Held
HELD = Held()


class Charge(Struct, frozen=True):
    """One counter a lease draws on: `amount` more may not lift it above `limit`.

    `counter` is the budget and whom it counts for, e.g. `user-day:research/ann`; with `unit` and `window` it names the
    counter within its organisation. The unit `concurrency` goes with the window Held, and with no other.
    warn: amounts, ascending; whoever settles is told of each one that the counter has reached, once in its window.
    Raises ValueError where an amount is not exact.
    """

    counter: str
    unit: Unit
    limit: int
    amount: int
    window: Window
    warn: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if not (0 <= self.limit <= AMOUNT_MAX and 0 <= self.amount <= AMOUNT_MAX):
            bounded("limit", self.limit)
            bounded("amount", self.amount)


class Admitted(Struct, frozen=True):
    """Every counter held the charge. `remaining[i]` is what the i-th limit leaves after it, never negative."""

    remaining: tuple[int, ...]


class Exhausted(Struct, frozen=True):
    """At least one counter could not hold its charge, and nothing was charged.

    `index` is the charge that refuses longest (the latest reset; the first of equals), `resets_at_ms` the earliest
    instant its window could hold the amount; for an amount above the limit, when the window is empty again. Of a Held counter
    it is the present: any lease may end at any moment. `remaining[i]` is what the i-th limit leaves now, never negative.
    """

    index: int
    remaining: tuple[int, ...]
    resets_at_ms: int


class Reached(Struct, frozen=True):
    """A counter that holds `threshold` or more, for the first time in its window; `used` is what it holds.

    Of a sliding window the first time is told again when the last telling is as long ago as the window lasts.
    """

    counter: str
    unit: Unit
    limit: int
    threshold: int
    used: int
    window: Window


class Closing(Struct, frozen=True):
    """The end of a lease. spent: None releases it. record: what the ledger's stream keeps of it, besides time and outcome.

    by: a name for this end, nobody else's. Told again under it, as after a lost reply, it is answered as at first; under an empty
    name it is not.
    """

    lease: str
    spent: Spent | None = None
    record: Mapping[str, str] = field(default_factory=dict)
    by: str = ""


class Closed(Struct, frozen=True):
    """applied: this closing settled or released the lease; False where it is unknown, has lapsed, or was closed by another."""

    applied: bool
    reached: tuple[Reached, ...] = ()


class Entry(Struct, frozen=True):
    """One record of the ledger, of a lease that was closed.

    id: its place in the ledger, `<epoch ms>-<number>` by the store's clock; later ones are larger. members: `at_ms` (epoch ms, of
    whoever closed the lease), `outcome` (settled, released, …), and what Closing.record said.
    """

    id: str
    members: Mapping[str, str]
