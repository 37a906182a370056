"""What the store must hold, kept a second time and in the plainest way: every lease with what it draws on every counter."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from headrace.ext_proc.core.ledger import Admitted, Charge, Closed, Closing, Exhausted, Fixed, Held, Sliding, Spent, Unit, Window

Counter = tuple[str, str, Unit, Window]
"""Organisation, name, unit, window."""

BUCKETS = 60
"""Of a sliding window: what it holds counts for at most one of them longer than the window lasts."""


class Wrong(Exception):
    """What the store answered or holds cannot be."""


@dataclass
class Lease:
    """amounts: what it draws now, by counter. closings: how often it was settled or released. closing: the first of them."""

    organisation: str
    now_ms: int
    lapses_ms: int
    amounts: dict[Counter, int]
    reserved: Mapping[Unit, int]
    closings: int = 0
    closing: Closing | None = None
    released: bool = False

    def of(self, unit: Unit) -> int | None:
        """What it draws in a unit; None where it draws nothing in it."""
        found = [amount for counter, amount in self.amounts.items() if counter[2] == unit]
        return found[0] if found else None


@dataclass
class Books:
    """changed: counters that were drawn on since they were looked at."""

    leases: dict[tuple[str, str], Lease] = field(default_factory=dict)
    of_counter: dict[Counter, list[Lease]] = field(default_factory=dict)
    changed: set[Counter] = field(default_factory=set)

    def reserved(
        self, organisation: str, name: str, charges: Sequence[Charge], now_ms: int, ttl_ms: int, answer: Admitted | Exhausted
    ) -> None:
        """Raises Wrong for a charge above a limit."""
        known = self.leases.get((organisation, name))
        if isinstance(answer, Exhausted) or known is not None:
            return
        amounts = {counter_of(organisation, charge): charge.amount for charge in charges}
        lease = Lease(organisation, now_ms, now_ms + ttl_ms, amounts, {charge.unit: charge.amount for charge in charges})
        self.leases[organisation, name] = lease
        for counter, charge in zip(amounts, charges, strict=True):
            self.of_counter.setdefault(counter, []).append(lease)
            if self.least(counter, now_ms) > charge.limit:
                raise Wrong(f"lease {name} was admitted: {counter} holds {self.least(counter, now_ms)} of {charge.limit}")
        self.changed |= amounts.keys()

    def extended(self, organisation: str, name: str, totals: Spent, now_ms: int, ttl_ms: int, answer: object) -> None:
        """Raises Wrong for a lease that was closed, or never reserved."""
        if not isinstance(answer, Admitted):
            return
        lease = self.leases.get((organisation, name))
        if lease is None or lease.closings:
            raise Wrong(f"lease {name} of {organisation} was extended, and was not open")
        lease.lapses_ms = max(lease.lapses_ms, now_ms + ttl_ms)
        for counter, amount in lease.amounts.items():
            lease.amounts[counter] = max(amount, totals.get(counter[2], 0))
        lease.reserved = {counter[2]: amount for counter, amount in lease.amounts.items()}
        self.changed |= lease.amounts.keys()

    def closed(self, organisation: str, closings: Sequence[Closing], answers: Sequence[Closed]) -> None:
        """Raises Wrong for a lease that is closed a second time, not only told again that it was, or was never reserved."""
        for closing, answer in zip(closings, answers, strict=True):
            if answer.applied:
                self._close(organisation, closing)

    def _close(self, organisation: str, closing: Closing) -> None:
        lease = self.leases.get((organisation, closing.lease))
        if lease is None:
            raise Wrong(f"lease {closing.lease} of {organisation} was closed, and never reserved")
        if lease.closing is not None and closing.by and lease.closing == closing:
            return
        lease.closings, lease.closing = lease.closings + 1, closing
        lease.released = closing.spent is None
        if lease.closings > 1:
            raise Wrong(f"lease {closing.lease} was closed {lease.closings} times")
        for counter in lease.amounts:
            spent = 0 if closing.spent is None else closing.spent.get(counter[2], lease.amounts[counter])
            lease.amounts[counter] = 0 if isinstance(counter[3], Held) else spent
        self.changed |= lease.amounts.keys()

    def least(self, counter: Counter, now_ms: int) -> int:
        """What the counter must hold at least."""
        return self._held(counter, now_ms, 0)

    def most(self, counter: Counter, now_ms: int) -> int:
        """What it may hold at most."""
        window = counter[3]
        return self._held(counter, now_ms, -(-window.length_ms // BUCKETS) if isinstance(window, Sliding) else 0)

    def _held(self, counter: Counter, now_ms: int, grace_ms: int) -> int:
        leases = self.of_counter.get(counter, ())
        match counter[3]:
            case Fixed():
                return sum(lease.amounts[counter] for lease in leases)
            case Sliding(length_ms=length_ms):
                return sum(lease.amounts[counter] for lease in leases if lease.now_ms > now_ms - length_ms - grace_ms)
            case Held():
                return sum(lease.amounts[counter] for lease in leases if now_ms < lease.lapses_ms)


def counter_of(organisation: str, charge: Charge) -> Counter:
    return organisation, charge.counter, charge.unit, charge.window
