"""Shapes of charts, in the units of their view boxes; templates draw them. Text stays outside: it would shrink with the picture."""

from collections.abc import Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 600, 120


@dataclass(frozen=True, slots=True)
class Bar:
    """One column: `passed` stands on the ground, `refused` on it. Heights and places in the view box."""

    x: float
    width: float
    passed: float
    refused: float
    label: str


def bars(values: Sequence[tuple[int, int, str]]) -> Sequence[Bar]:
    """values: (passed, refused, label) for each column, oldest first. The highest reaches the top."""
    most = max((passed + refused for passed, refused, _ in values), default=0) or 1
    step = WIDTH / max(len(values), 1)
    scale = (HEIGHT - 4) / most
    return [
        Bar(round(index * step + step * 0.1, 2), round(step * 0.8, 2), round(passed * scale, 2), round(refused * scale, 2), label)
        for index, (passed, refused, label) in enumerate(values)
    ]


Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Frame:
    """Maps times and amounts into the view box. most: the amount at its top."""

    start: float
    end: float
    most: float

    def x(self, at: float) -> float:
        return round((at - self.start) / max(self.end - self.start, 1) * WIDTH, 1)

    def y(self, amount: float) -> float:
        return round(HEIGHT - 2 - min(amount / (self.most or 1), 1.0) * (HEIGHT - 6), 1)

    def steps(self, points: Sequence[Point]) -> str:
        """A line that stays until the next point and rises there, as a counter does."""
        drawn: list[str] = []
        for index, (at, amount) in enumerate(points):
            if index:
                drawn.append(f"{self.x(at)},{self.y(points[index - 1][1])}")
            drawn.append(f"{self.x(at)},{self.y(amount)}")
        return " ".join(drawn)

    def line(self, points: Sequence[Point]) -> str:
        return " ".join(f"{self.x(at)},{self.y(amount)}" for at, amount in points)
