"""Counting on the hot path: plain numbers under tuples of label values, read out when somebody asks.

A request touches some twenty of these. One addition here takes 0.1 µs and one observation 0.3 µs; prometheus_client's take 0.35 and
0.8 µs, and 1 and 2 µs in its multiprocess mode, more than half of what the rest of a request costs. Exposition is left to it.
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import accumulate

from headrace.ext_proc.telemetry.metrics import MAX_SERIES, OTHER, Family
from headrace.ext_proc.telemetry.samples import Sample

Labels = tuple[str, ...]


class Counter:
    """Also serves as a gauge: `set`."""

    def __init__(self, family: Family) -> None:
        self.family = family
        self._values: dict[Labels, float] = {} if family.labels else {(): 0.0}

    def add(self, labels: Labels = (), amount: float = 1.0) -> None:
        """labels: values in the order of the family's."""
        value = self._values.get(labels)
        if value is None:
            labels = _bounded(labels, self._values)
            value = self._values.get(labels, 0.0)
        self._values[labels] = value + amount

    def set(self, value: float, labels: Labels = ()) -> None:
        self._values[_bounded(labels, self._values)] = value

    def clear(self) -> None:
        """Forget every series: a gauge's labels are not what they were."""
        self._values.clear()

    def samples(self) -> Iterator[Sample]:
        name = f"{self.family.name}_total" if self.family.kind == "counter" else self.family.name
        return (Sample(name, _pairs(self.family, labels), value) for labels, value in self._values.items())


class Histogram:
    """Per series: one count for each bound, one for what is above them all, and the sum."""

    def __init__(self, family: Family) -> None:
        self.family = family
        self._bounds = family.bounds
        self._series: dict[Labels, list[float]] = {}

    def observe(self, labels: Labels, value: float) -> None:
        """labels: values in the order of the family's. value: in the unit of the bounds."""
        series = self._series.get(labels)
        if series is None:
            series = self._series.setdefault(_bounded(labels, self._series), [0.0] * (len(self._bounds) + 2))
        series[bisect_left(self._bounds, value)] += 1.0
        series[-1] += value

    def samples(self) -> Iterator[Sample]:
        bounds = [*map(_spelled, self._bounds), "+Inf"]
        for labels, series in self._series.items():
            pairs = _pairs(self.family, labels)
            counts = list(accumulate(series[:-1]))
            for bound, count in zip(bounds, counts, strict=True):
                yield Sample(f"{self.family.name}_bucket", (*pairs, ("le", bound)), count)
            yield Sample(f"{self.family.name}_count", pairs, counts[-1])
            yield Sample(f"{self.family.name}_sum", pairs, series[-1])


def _bounded(labels: Labels, series: dict[Labels, float] | dict[Labels, list[float]]) -> Labels:
    return labels if labels in series or len(series) < MAX_SERIES else (OTHER,) * len(labels)


def _pairs(family: Family, labels: Labels) -> Sequence[tuple[str, str]]:
    return tuple(zip(family.labels, labels, strict=True))


def _spelled(bound: float) -> str:
    return repr(float(bound))
