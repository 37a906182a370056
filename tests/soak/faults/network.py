"""What a network between two ends may do to bytes, as values."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from random import Random

ALONE_MAX = 64
"""Bytes of a read that may travel by themselves before the rest is cut at random: each costs a system call."""


@dataclass(frozen=True, slots=True)
class Weather:
    """Holds for every connection through a proxy, in both directions.

    A read is what the proxy gets at once, 64 KiB at most. latency_s, jitter_s: it waits for the former and a random part of the
    latter. split: it is cut at random boundaries, some of its first bytes one by one. bytes_per_s: 0 for no limit. lost: the share
    of reads that wait stalled_s, as after a lost packet; cut: the share of those that never come, whose connection is reset then.
    """

    latency_s: float = 0.0
    jitter_s: float = 0.0
    split: bool = False
    bytes_per_s: int = 0
    lost: float = 0.0
    stalled_s: float = 0.2
    cut: float = 0.0

    def delay_s(self, size: int, random: Random) -> float:
        """How long a read of so many bytes takes."""
        delay = self.latency_s + self.jitter_s * random.random()
        return delay + (size / self.bytes_per_s if self.bytes_per_s else 0)


CLEAR = Weather()


def pieces(data: bytes, random: Random) -> Iterator[bytes]:
    """The same bytes: some one by one, then cut where chance has it."""
    alone = random.randrange(min(len(data), ALONE_MAX) + 1)
    for index in range(alone):
        yield data[index : index + 1]
    rest = data[alone:]
    cuts = sorted({random.randrange(len(rest)) for _ in range(3)} | {0, len(rest)}) if rest else []
    for start, end in pairwise(cuts):
        yield rest[start:end]
