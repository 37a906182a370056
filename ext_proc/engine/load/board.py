"""What is known of every server: its last metrics, what this worker has sent there, and which conversations are warm."""

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from msgspec import Struct

from headrace.ext_proc.core.effects import Record
from headrace.ext_proc.engine.load.flight import Flight, Sent
from headrace.ext_proc.engine.load.lengths import Lengths
from headrace.ext_proc.engine.load.metrics import Snapshot

STALE_AFTER: Final = 3
"""Times the interval between two readings. What has not been heard of for so long counts as full."""

WARM_MS: Final = 5 * 60_000
"""For which a server is taken to keep a conversation's prefix in its cache."""

CONVERSATIONS: Final = 100_000
"""Prefixes remembered by a worker; the one that was used longest ago goes first."""


class Need(Struct, frozen=True):
    """A request to be placed. tokens: prompt and answer; prefix: equal for requests of one conversation, empty for none.

    answer: of the tokens, those that are not there yet when it begins; lengths: of its model's answers, in order of size.
    """

    tokens: int
    prefix: str = ""
    answer: int = 0
    lengths: Sequence[int] = ()


@dataclass(slots=True)
class _Server:
    snapshot: Snapshot | None = None
    read_ms: int = 0
    flight: Flight = field(default_factory=Flight)


class State(Struct, frozen=True):
    """A server as a choice sees it. queue: requests that wait.

    Parts of its KV cache, 0 where the server does not say its size: cache: in use as it says itself; predicted: with what the
    answers that run there are yet to take, what was sent since, and the request to be placed with its answer; alone: of the request
    alone. The last two may be more than 1.
    """

    queue: int
    cache: float
    predicted: float
    alone: float
    running: int = 0


class Heard(Struct, frozen=True):
    """What a server said of itself last, and when (epoch ms). stale: it counts as full, because that is too long ago."""

    running: int
    waiting: int
    cache: float | None
    read_ms: int
    stale: bool


class Board:
    """One worker's. Other workers' placements show in the metrics at their next reading, not before.

    interval_ms: between two readings of a server.
    """

    def __init__(self, interval_ms: int) -> None:
        self.interval_ms = interval_ms
        self.lengths = Lengths()
        self._servers: dict[str, _Server] = {}
        self._warm: OrderedDict[str, tuple[str, int]] = OrderedDict()

    def follow(self, servers: Iterable[str]) -> None:
        """These and no others are read from now on."""
        self._servers = {name: self._servers.get(name, _Server()) for name in servers}

    def read(self, server: str, snapshot: Snapshot, asked_ms: int) -> None:
        """Its metrics, asked for at `asked_ms`: what was sent before is in them."""
        if (known := self._servers.get(server)) is None:
            return
        known.snapshot, known.read_ms = snapshot, asked_ms
        known.flight.read(snapshot, asked_ms, self.interval_ms)

    def place(self, server: str, need: Need, now_ms: int) -> None:
        """A request of this worker goes there."""
        if (known := self._servers.get(server)) is not None:
            known.flight.since.append(Sent(now_ms, need.tokens - need.answer, need.answer, need.lengths))
        if need.prefix:
            self._warm[need.prefix] = (server, now_ms)
            self._warm.move_to_end(need.prefix)
            while len(self._warm) > CONVERSATIONS:
                self._warm.popitem(last=False)

    def observe(self, record: Record) -> None:
        """An observer of the effect runner: how long answers become, where anybody's load is followed."""
        if self._servers:
            self.lengths.observe(record)

    def answered(self, server: str, prefix: str, now_ms: int) -> None:
        """The gateway says who answered; it may not be the one that was picked. A server nobody follows is passed over."""
        if server in self._servers and prefix in self._warm:
            self._warm[prefix] = (server, now_ms)

    def state(self, server: str, need: Need, now_ms: int) -> State | None:
        """None for one that is full for all we know: never heard of, or not for too long."""
        known = self._servers.get(server)
        if known is None or known.snapshot is None or now_ms - known.read_ms > STALE_AFTER * self.interval_ms:
            return None
        snapshot, cache = known.snapshot, known.snapshot.cache or 0.0
        each = 1 / snapshot.capacity if snapshot.capacity else 0.0
        to_come = need.tokens + known.flight.to_come(snapshot, known.read_ms)
        running = snapshot.running + len(known.flight.since)
        return State(snapshot.waiting, cache, cache + to_come * each, need.tokens * each, running)

    def capacity(self, server: str) -> int:
        """Tokens of its KV cache, as it said last; 0 where it has not."""
        known = self._servers.get(server)
        return (known.snapshot.capacity or 0) if known is not None and known.snapshot is not None else 0

    def knows(self, server: str) -> bool:
        """Whether its metrics are read at all."""
        return server in self._servers

    def warm(self, prefix: str, now_ms: int) -> str | None:
        """The server that has served this conversation lately."""
        found = self._warm.get(prefix)
        return found[0] if found is not None and now_ms - found[1] <= WARM_MS else None

    def heard(self, now_ms: int) -> Mapping[str, Heard | None]:
        """Of every server; None of one that was never heard of."""
        return {name: self._heard(known, now_ms) for name, known in self._servers.items()}

    def _heard(self, known: _Server, now_ms: int) -> Heard | None:
        if (snapshot := known.snapshot) is None:
            return None
        stale = now_ms - known.read_ms > STALE_AFTER * self.interval_ms
        return Heard(snapshot.running, snapshot.waiting, snapshot.cache, known.read_ms, stale)

    @property
    def servers(self) -> Sequence[str]:
        return tuple(self._servers)
