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
        kept = self._fewest(_apart(kept, lambda choice: choice[0].split()[0]))  # an exchange with all its lanes
        kept = self._fewest(_apart(kept, lambda choice: choice[0]))
        while self.runs > 0:
            fewer = self._fewest(_apart(kept, lambda choice: choice))
            if len(fewer) == len(kept):
                break
            kept = fewer
        return trace_of(self._lowered(kept))

    def _fewest(self, parts: list[list[Choice]]) -> list[Choice]:
        """Zeller and Hildebrandt's ddmin: half of the parts are taken back, a quarter, and so on down to one at a time."""
        size = max(1, len(parts) // 2)
        while True:
            at = 0
            while at < len(parts):
                fewer = parts[:at] + parts[at + size :]
                if self._tried(_joined(fewer)) is None:
                    at += size
                else:
                    parts = fewer
            if size == 1:
                return _joined(parts)
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


def _apart(choices: list[Choice], name: Callable[[Choice], object]) -> list[list[Choice]]:
    """By the name of what they belong to."""
    parts: dict[object, list[Choice]] = {}
    for choice in choices:
        parts.setdefault(name(choice), []).append(choice)
    return list(parts.values())


def _joined(parts: list[list[Choice]]) -> list[Choice]:
    return [choice for part in parts for choice in part]
