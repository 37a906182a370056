"""Every choice of a run: made from one seed, noted, and made again from the notes."""

from collections.abc import Mapping
from random import Random

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
        self._draw = Random(f"{seed}/{name}")

    def pick(self, n: int, odds: float, what: str) -> int:
        """With these odds one of 1 to n - 1, each as likely; else 0."""
        self._at += 1
        if self._kept is not None:
            value = min(self._kept.get(self._at, 0), n - 1)
        elif self._draw.random() < odds:
            value = 1 + int(self._draw.random() * (n - 1))
        else:
            return 0
        if value:
            self.made[self._at] = value
            self.words[self._at] = what
        return value

    def happens(self, odds: float, what: str) -> bool:
        return bool(self.pick(2, odds, what))

    def among(self, n: int, what: str) -> int:
        """0 to n - 1, each as likely."""
        return self.pick(n, (n - 1) / n, what)

    def ms(self, most: int, odds: float, what: str) -> float:
        """Seconds, up to so many milliseconds."""
        return self.pick(most + 1, odds, what) / 1000


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
    def met(self) -> set[str]:
        """What any choice was about that was not 0."""
        return {what for lane in self._lanes.values() for what in lane.words.values()}

    def told(self) -> list[str]:
        """The same, in words."""
        return [
            f"{name} #{at} {lane.words[at]} = {value}"
            for name, lane in sorted(self._lanes.items())
            for at, value in sorted(lane.made.items())
        ]
