"""What the service needs from outside, as protocols: a store, a clock, a place for heavy work.

`core` names them and never calls them; filters and the engine are handed implementations, tests their own.
"""

from collections.abc import Callable, Sequence
from typing import Final, Protocol, TypeVar, TypeVarTuple

from headrace.ext_proc.core.errors import HeadraceError
from headrace.ext_proc.core.ledger import EMPTY, Admitted, Charge, Closed, Closing, Entry, Exhausted, Record, Spent
from headrace.ext_proc.core.roster import Changes, Listed, Seen

Result = TypeVar("Result")
Args = TypeVarTuple("Args")


class StoreUnavailable(HeadraceError):
    """The store did not answer in time, refused the connection or the command, or has too much waiting already.

    Whether a write took place is unknown; repeating it with the same lease is safe.
    """


class NeverSent(StoreUnavailable):
    """The call has not left: nothing of it is in the store, and nothing will be."""


REFUSED: Final = "the store refused: "
"""How the message begins where the server has answered; its own words follow."""


class Store(Protocol):
    """Counters, leases and rosters, shared by every worker.

    Every method raises StoreUnavailable, and ValueError for an empty organisation or lease, before anything is sent.
    `now_ms` is the caller's wall clock in epoch milliseconds, on which callers agree by `time_ms`. What belongs to one
    organisation lives in one slot.
    """

    async def reserve(
        self, organisation: str, lease: str, charges: Sequence[Charge], *, now_ms: int, ttl_ms: int, record: Record = EMPTY
    ) -> Admitted | Exhausted:
        """Charge every counter, or none if one of them cannot hold its charge.

        Repeated with the same lease it charges nothing and gives the same answer, for `ttl_ms`; after that the lease is
        unknown and what it charged stands. A refusal leaves no trace and is decided anew.
        record: what the ledger keeps of the lease should it lapse, with the outcome `expired` and the amounts that then stand;
        members named as units follow what `extend` reserves. It is written by the organisation's next reserve or settlement.
        Empty: nothing is written.
        Raises ValueError for a counter named twice, a fixed window that does not hold `now_ms`, a TTL below 1, or a
        lease that was released before it was reserved.
        """
        ...

    async def extend(
        self, organisation: str, lease: str, amounts: Spent, *, now_ms: int, ttl_ms: int
    ) -> Admitted | Exhausted | None:
        """Raise what an open lease has drawn to `amounts`, on every counter or none, and let it run until `now_ms + ttl_ms`.

        amounts: totals by unit, so that a repeated call charges once; a unit that is absent, or less than was drawn, stays.
        The counters are the reservation's, in the windows it was charged to, under the limits it was given; one whose window
        has gone takes any amount. The answer is in the order of the reservation's charges; a refusal changes nothing.
        None where the lease is unknown, lapsed, settled or released: nothing was charged.
        Raises ValueError for an amount outside 0..2**53, and for a TTL below 1.
        """
        ...

    async def settle_many(self, organisation: str, closings: Sequence[Closing], *, now_ms: int) -> Sequence[Closed]:
        """Settle and release several leases of one organisation in one call, each as by itself; answers in their order.

        To settle is to correct every counter of the lease from what was reserved to what was spent. Units missing from `spent` stay
        as reserved, and so do counters whose window has gone. A counter may rise above its limit here, never in `reserve`.
        To release is to take back what the lease charged. A reservation of that lease that arrives within the next minute,
        overtaken by its release, is refused.
        Thresholds that a settled lease's counters have reached are told here, once over all workers: see Charge.warn.
        Raises ValueError for a spent amount outside 0..2**53, for all of them and before anything is sent.
        """
        ...

    async def read(self, organisation: str, charges: Sequence[Charge], *, now_ms: int) -> tuple[int, ...]:
        """What each of these counters holds now; limits and amounts are not looked at. Changes nothing."""
        ...

    async def entries(self, organisation: str, *, after: str = "", limit: int = 1000) -> Sequence[Entry]:
        """The ledger's next records after the one with this id, oldest first, `limit` at most; all of them from the start on "".

        A bare `<epoch ms>` is a time rather than a record. The ledger keeps a bounded number of records; older ones are gone.
        Raises ValueError for an id that is none.
        """
        ...

    async def enrol(self, roster: str, id: str, value: bytes, *, revision: int = 0) -> int:
        """Put a record over the one of `revision` (0: there is none yet) and return the new revision.

        0 when the record there is of another revision: somebody was quicker, and nothing was changed. Repeated, it gives the
        same answer. Raises RosterFull, and ValueError for an empty roster or id.
        """
        ...

    async def listed(self, roster: str, id: str) -> Listed | None:
        """The record with this id. Raises ValueError for an empty roster or id."""
        ...

    async def listed_since(self, roster: str, revision: int, *, limit: int = 1000) -> Sequence[Listed]:
        """Records that were changed after `revision`, each as it is now, by ascending revision, `limit` at most."""
        ...

    async def changes(self, roster: str, seen: Seen, *, limit: int = 1000) -> Changes:
        """The same for who follows the roster and has read it up to `seen`, which begins with Seen()."""
        ...

    async def time_ms(self) -> int:
        """The store's own wall clock, epoch milliseconds: one for all who share it."""
        ...

    async def ping(self) -> None:
        """Return when the store answers and can run our functions."""
        ...

    async def close(self) -> None:
        """Wait for what was sent, refuse what comes later with StoreUnavailable, and disconnect. Raises nothing."""
        ...


class Clock(Protocol):
    """Wall time, from outside."""

    def now_ms(self) -> int:
        """Epoch milliseconds. Raises nothing."""
        ...


class Offload(Protocol):
    """Runs functions that would hold the event loop for too long elsewhere."""

    async def run(self, fn: Callable[[*Args], Result], *args: *Args) -> Result:
        """`fn(*args)` off the event loop. Raises whatever `fn` raises."""
        ...
