"""What the bench reports, and how it is computed from the rounds."""

from collections.abc import Mapping, Sequence
from statistics import median

import msgspec

from .load import Load


class Sample(msgspec.Struct, frozen=True):
    """One gateway in one round: many connections for throughput and CPU, one connection for latency."""

    crowd: Load
    alone: Load
    cpu_s: dict[str, float]  # CPU seconds by part during `crowd` and what it left to do
    unfinished: list[str] = []  # what was left undone after `crowd`, so that its work is not all counted

    @property
    def problems(self) -> list[str]:
        """Why this sample proves nothing."""
        return self.crowd.problems + self.alone.problems + self.unfinished

    def cpu_per_1000(self, part: str) -> float:
        """CPU seconds of a part per 1,000 requests."""
        return self.cpu_s.get(part, 0.0) / self.crowd.requests * 1000


class Run(msgspec.Struct, frozen=True):
    """One gateway over all rounds: medians; `rss_mb` is the sum of its processes' peaks, in MiB."""

    name: str
    rps: float
    p50_ms: float
    p99_ms: float
    cpu_s_per_1000: float
    rss_mb: float
    valid: bool
    problems: list[str]
    cpu_s_per_1000_by_part: dict[str, float]
    rss_mb_by_part: dict[str, float]
    rounds: list[dict[str, float]]


def summarise(name: str, samples: Sequence[Sample], peaks: Mapping[str, float], problems: Sequence[str] = ()) -> Run:
    """The medians of the rounds. Any error in any round makes the run invalid."""
    found = [*problems, *(f"round {at}: {text}" for at, sample in enumerate(samples, 1) for text in sample.problems)]
    parts = sorted({part for sample in samples for part in sample.cpu_s})
    return Run(
        name=name,
        rps=round(median(sample.crowd.rps for sample in samples), 1),
        p50_ms=round(median(sample.alone.p50_ms for sample in samples), 4),
        p99_ms=round(median(sample.alone.p99_ms for sample in samples), 4),
        cpu_s_per_1000=round(median(_cpu(sample) for sample in samples), 4),
        rss_mb=round(sum(peaks.values()), 1),
        valid=not found,
        problems=found,
        cpu_s_per_1000_by_part={part: round(median(s.cpu_per_1000(part) for s in samples), 4) for part in parts},
        rss_mb_by_part={part: round(peak, 1) for part, peak in sorted(peaks.items())},
        rounds=[_figures(sample) for sample in samples],
    )


def _cpu(sample: Sample) -> float:
    return sum(sample.cpu_s.values()) / sample.crowd.requests * 1000


def _figures(sample: Sample) -> dict[str, float]:
    return {
        "rps": round(sample.crowd.rps, 1),
        "p50_ms": sample.alone.p50_ms,
        "p99_ms": sample.alone.p99_ms,
        "cpu_s_per_1000": round(_cpu(sample), 4),
        "requests": sample.crowd.requests + sample.alone.requests,
    }
