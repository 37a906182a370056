"""One row's figures: those of `build/bench.json`, and what only peers are measured in."""

from collections.abc import Mapping, Sequence
from statistics import median

import msgspec

from tests.bench.figures import Run, Sample, summarise

from .budget import Overshoot
from .leaks import Leaks, Place
from .paced import Paced
from .prompts import Prompts


class Streamed(msgspec.Struct, frozen=True):
    """Medians of the rounds; added_*: beyond those of the load without a gateway. Times in ms, CPU in µs per event.

    streams: how many at once; 0: the gateway did not hold even one, and the figures are of the smallest crowd.
    """

    streams: int
    added_first_ms: float
    added_p50_ms: float
    added_p99_ms: float
    cpu_us: float


class PeerRun(Run, frozen=True, kw_only=True):
    """added_*: beyond the load without a gateway, in ms. overshoot: None where no budget is configured."""

    configured: str
    added_p50_ms: float
    added_p99_ms: float
    prompt_added_ms: float | None = None
    streamed: Streamed | None = None
    leaks: Mapping[Place, Leaks] | None = None
    overshoot: Overshoot | None = None


class Missing(msgspec.Struct, frozen=True):
    """A row without figures, and why."""

    name: str
    why: str


class Measured(msgspec.Struct):
    """What was measured of one gateway, as the phases go."""

    samples: Sequence[Sample] = ()
    prompts: Sequence[Prompts] = ()
    crowds: Sequence[Paced] = ()
    leaks: Mapping[Place, Leaks] | None = None
    overshoot: Overshoot | None = None
    peaks: Mapping[str, float] = {}

    def problems(self) -> list[str]:
        """What makes figures beside those of the samples prove nothing."""
        crowds = [problem for crowd in self.crowds for problem in crowd.problems]
        prompts = [problem for each in self.prompts for problem in each.problems]
        return sorted({*crowds, *prompts, *(self.overshoot.problems if self.overshoot else ())})


def peer_run(name: str, configured: str, measured: Measured, direct: Measured) -> PeerRun:
    """A row from what was measured of it and of the load without a gateway."""
    run = summarise(name, measured.samples, measured.peaks, measured.problems())
    alone = summarise("direct", direct.samples, {})
    return PeerRun(
        **{field: getattr(run, field) for field in Run.__struct_fields__},
        configured=configured,
        added_p50_ms=round(run.p50_ms - alone.p50_ms, 4),
        added_p99_ms=round(run.p99_ms - alone.p99_ms, 4),
        prompt_added_ms=_added_by_prompts(measured, direct),
        streamed=_streamed(measured, direct) if measured.crowds else None,
        leaks=measured.leaks,
        overshoot=measured.overshoot,
    )


def _added_by_prompts(measured: Measured, direct: Measured) -> float | None:
    if not measured.prompts:
        return None
    return round(median(one.p50_ms for one in measured.prompts) - median(one.p50_ms for one in direct.prompts), 1)


def _streamed(measured: Measured, direct: Measured) -> Streamed:
    def added(figure: str) -> float:
        own, base = (float(median(getattr(crowd, figure) for crowd in each.crowds)) for each in (measured, direct))
        return round(own - base, 3)

    held = min(crowd.streams if crowd.held else 0 for crowd in measured.crowds)
    cpu_us = round(median(crowd.cpu_us for crowd in measured.crowds), 1)
    return Streamed(held, added("first_ms"), added("p50_ms"), added("p99_ms"), cpu_us)


def latest(old: Mapping[str, float], new: Mapping[str, float]) -> Mapping[str, float]:
    """The larger peak of each part."""
    return {part: max(old.get(part, 0.0), new.get(part, 0.0)) for part in sorted({*old, *new})}
