"""What this worker has sent to one server, and how much more of the server's cache it is going to take.

A server says how much of its cache is in use, not how much its answers are yet to take. Which of them have ended is not told
either: the server says how many run, and the oldest are taken to have ended first. What runs holds its prompts and what has been
written, the longer ago it was sent the more; each answer goes on as those of its model did that became at least as long. The sum
of that rises while they grow, and falls as they end: what is to come is the way to its peak.
"""

from bisect import bisect_left
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from headrace.ext_proc.engine.load.metrics import Snapshot

PLACED: Final = 10_000
"""Requests remembered of one server, each way; the oldest goes first."""

LOOKED_AT: Final = 16
"""Of those that are there: the others are taken to be like them."""

MOMENTS: Final = 8
"""At which the sum is taken, of all at which an answer may end: it has its peak just before one of them."""


class Sent(NamedTuple):
    """prompt, answer: tokens, the answer as long as it may become; lengths: of answers of its model, in order of size."""

    at_ms: int
    prompt: int
    answer: int
    lengths: Sequence[int]


class Running(NamedTuple):
    """A request whose answer has `written` tokens so far."""

    sent: Sent
    written: float

    def ends(self) -> Iterator[int]:
        """Tokens that may still come."""
        lengths = self.sent.lengths
        for length in (*lengths[:: 1 + len(lengths) // 8], *lengths[-1:], self.sent.answer):
            if self.written < length <= self.sent.answer:
                yield int(length - self.written)

    def expected(self, more: int) -> float:
        """Tokens it holds when answers have become longer by `more`, times the probability that it still runs then."""
        at, lengths = self.written + more, self.sent.lengths
        if at > self.sent.answer:
            return 0.0
        reached = len(lengths) - bisect_left(lengths, self.written) if lengths else 0
        still = (len(lengths) - bisect_left(lengths, at)) / reached if reached else 1.0
        return (self.sent.prompt + at) * still


@dataclass(slots=True)
class Flight:
    """since: sent since the metrics were read, so that they do not show it; known: sent before."""

    since: deque[Sent] = field(default_factory=lambda: deque(maxlen=PLACED))
    known: deque[Sent] = field(default_factory=lambda: deque(maxlen=PLACED))
    _growth: int | None = None

    def read(self, snapshot: Snapshot, asked_ms: int, interval_ms: int) -> None:
        """The server's metrics, asked for at `asked_ms`. What was sent within the last interval may be on its way yet."""
        while self.since and self.since[0].at_ms < asked_ms:
            self.known.append(self.since.popleft())
        there = snapshot.running + snapshot.waiting
        while len(self.known) > there and self.known[0].at_ms < asked_ms - interval_ms:
            self.known.popleft()
        self._growth = None

    def to_come(self, snapshot: Snapshot, read_ms: int) -> int:
        """Tokens beyond those that `snapshot`, the metrics as they were at `read_ms`, has in use."""
        if self._growth is None:
            self._growth = growth(self.known, snapshot, read_ms)
        return self._growth + sum(sent.prompt + sent.answer for sent in self.since)


def growth(known: Sequence[Sent], snapshot: Snapshot, read_ms: int) -> int:
    """Tokens by which the use of the cache is expected to grow until it falls, if nothing is sent there any more.

    known: what is there of this worker's, the oldest first; what others have sent is taken to be like it.
    """
    there = snapshot.running + snapshot.waiting
    own = min(len(known), there)
    if not own or not snapshot.capacity or snapshot.cache is None:
        return 0
    places = range(0, own, -(-own // LOOKED_AT))
    run = sum(place * there < snapshot.running * own for place in places)
    alike = there / len(places)
    looked_at = [known[place] for place in places]
    running = _written(looked_at[:run], snapshot.cache * snapshot.capacity / alike, read_ms)
    waiting = [Running(one, 0.0) for one in looked_at[run:]]
    peak = max(sum(one.expected(more) for one in (*running, *waiting)) for more in _moments((*running, *waiting)))
    return max(0, round((peak - sum(one.expected(0) for one in running)) * alike))


def _moments(there: Sequence[Running]) -> Sequence[int]:
    ends = sorted({end for one in there for end in one.ends()})
    return [0, *ends[:: 1 + len(ends) // MOMENTS], *ends[-1:]]


def _written(sent: Sequence[Sent], used: float, read_ms: int) -> Sequence[Running]:
    """What is in use beside the prompts was written, by all at the same speed."""
    ages = [max(1, read_ms - one.at_ms) for one in sent]
    written = max(0.0, used - sum(one.prompt for one in sent)) / max(1, sum(ages))
    return [Running(one, min(one.answer, written * age)) for one, age in zip(sent, ages, strict=True)]
