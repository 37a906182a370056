"""Every choice of a run: made from one seed, noted, and made again from the notes."""

from collections import Counter
from collections.abc import Iterator, Mapping
from functools import partial
from hashlib import blake2b
from random import Random
from struct import Struct

Trace = dict[str, dict[int, int]]
"""Lane → number of the choice → what was chosen. What is not named is 0: nothing special happens."""


class Lane:
    """The choices about one thing, such as one exchange: taking some of them back leaves those of other lanes as they are.

    0 always stands for what happens on a quiet day. kept: what to choose instead of drawing; None draws.
    """

    def __init__(self, name: str, seed: int, kept: Mapping[int, int] | None) -> None:
        self.name = name
        self.made: dict[int, int] = {}
        """Choices other than 0."""
        self.words: dict[int, str] = {}
        """What they were about."""
        self._at = -1
        self._kept = kept
        self._draw = partial(next, _numbers(f"{seed}/{name}"))

    def pick(self, n: int, odds: float, what: str) -> int:
        """With these odds one of 1 to n - 1, each as likely; else 0. What is certain is not drawn."""
        self._at = at = self._at + 1
        if self._kept is not None:
            value = min(self._kept.get(at, 0), n - 1)
        elif odds <= 0.0 or (odds < 1.0 and self._draw() >= odds):
            return 0
        else:
            value = 1 if n == 2 else 1 + int(self._draw() * (n - 1))
        if value:
            self.made[at] = value
            self.words[at] = what
        return value

    def happens(self, odds: float, what: str) -> bool:
        return bool(self.pick(2, odds, what))

    def among(self, n: int, what: str) -> int:
        """0 to n - 1, each as likely."""
        return self.pick(n, (n - 1) / n, what)

    def ms(self, most: int, odds: float, what: str) -> float:
        """Seconds, up to so many milliseconds."""
        return self.pick(most + 1, odds, what) / 1000


def _numbers(seed: str) -> Iterator[float]:
    """From 0 up to 1. Most lanes draw a few: a digest has eight, and takes a fifth of the time that a generator takes to begin."""
    for number in _EIGHT.unpack(blake2b(seed.encode()).digest()):
        yield (number >> 11) / (1 << 53)
    draw = Random(seed).random
    while True:
        yield draw()


_EIGHT = Struct("8Q")


def told(trace: Trace, words: Mapping[str, Mapping[int, str]]) -> list[str]:
    """The choices of a trace, each with what it was about."""
    return [
        f"{name} #{at} {words[name][at]} = {value}" for name, made in sorted(trace.items()) for at, value in sorted(made.items())
    ]


class Chance:
    """The lanes of one run. trace: the choices to make; None draws them all."""

    def __init__(self, seed: int, trace: Trace | None = None) -> None:
        self.seed = seed
        self._trace = trace
        self._lanes: dict[str, Lane] = {}

    def lane(self, name: str) -> Lane:
        if name not in self._lanes:
            kept = None if self._trace is None else self._trace.get(name, {})
            self._lanes[name] = Lane(name, self.seed, kept)
        return self._lanes[name]

    @property
    def trace(self) -> Trace:
        """What was chosen so far."""
        return {name: dict(lane.made) for name, lane in self._lanes.items() if lane.made}

    @property
    def words(self) -> dict[str, dict[int, str]]:
        """What each of those choices was about."""
        return {name: lane.words for name, lane in self._lanes.items() if lane.made}

    @property
    def met(self) -> Counter[str]:
        """What choices were about that were not 0, and how many."""
        met: Counter[str] = Counter()
        for lane in self._lanes.values():
            met.update(lane.words.values())
        return met
