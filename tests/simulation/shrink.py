"""The shortest trace that still fails: choices are taken back, first all of a lane at once, then ever fewer of them."""

from collections.abc import Callable, Sequence

from tests.simulation.chance import Trace

Choice = tuple[str, int, int]
"""Lane, number, what was chosen."""


def choices_of(trace: Trace) -> list[Choice]:
    return [(lane, at, value) for lane, made in sorted(trace.items()) for at, value in sorted(made.items())]


def trace_of(choices: Sequence[Choice]) -> Trace:
    trace: Trace = {}
    for lane, at, value in choices:
        trace.setdefault(lane, {})[at] = value
    return trace


class Shrinker:
    """fails: whether a run with these choices fails in the same way. runs: how many may be tried."""

    def __init__(self, fails: Callable[[Trace], bool], runs: int = 400) -> None:
        self._fails = fails
        self.runs = runs

    def shrunk(self, trace: Trace) -> Trace:
        """What none of can be taken back, or as far as `runs` suffice. `trace` itself must fail."""
        kept = choices_of(trace)
        kept = self._without_lanes(kept)
        while self.runs > 0:
            fewer = self._without_parts(kept)
            if len(fewer) == len(kept):
                break
            kept = fewer
        return trace_of(self._lowered(kept))

    def _without_lanes(self, kept: list[Choice]) -> list[Choice]:
        for lane in sorted({lane for lane, _, _ in kept}):
            kept = self._tried([choice for choice in kept if choice[0] != lane]) or kept
        return kept

    def _without_parts(self, kept: list[Choice]) -> list[Choice]:
        """Zeller and Hildebrandt's ddmin, with parts that halve from pass to pass."""
        size = max(1, len(kept) // 2)
        while True:
            at = 0
            while at < len(kept):
                fewer = self._tried(kept[:at] + kept[at + size :])
                if fewer is None:
                    at += size
                else:
                    kept = fewer
            if size == 1:
                return kept
            size //= 2

    def _lowered(self, kept: list[Choice]) -> list[Choice]:
        """1 in place of larger choices, which says less."""
        for index, (lane, at, value) in enumerate(kept):
            if value > 1:
                kept = self._tried([*kept[:index], (lane, at, 1), *kept[index + 1 :]]) or kept
        return kept

    def _tried(self, choices: list[Choice]) -> list[Choice] | None:
        """The choices, where they fail."""
        if self.runs <= 0 or not choices:
            return None
        self.runs -= 1
        return choices if self._fails(trace_of(choices)) else None
