"""Memory and descriptors of every process, every few seconds, and whether they grow."""

import asyncio
import contextlib
import csv
import os
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.soak.site import Site

EVERY_S = 3.0
PAGE = os.sysconf("SC_PAGE_SIZE")
MIB = 1 << 20
HOUR_S = 3600
LEAST = 5
"""Samples that a slope is drawn through."""


@dataclass(frozen=True)
class Sample:
    """at_s: since the process was first seen, or since the run began, as whoever holds it says."""

    at_s: float
    rss_mb: float
    fds: int


@dataclass
class Series:
    """One life of one process. began_s: of the run."""

    role: str
    pid: int
    began_s: float
    samples: list[Sample] = field(default_factory=list)


class Resources:
    """`async with sampling(site)`; series: of every process there was."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._began = asyncio.get_running_loop().time()
        self.series: dict[tuple[str, int], Series] = {}

    def look(self) -> None:
        at = asyncio.get_running_loop().time() - self._began
        for role, pid in self._processes():
            with contextlib.suppress(OSError):
                series = self.series.setdefault((role, pid), Series(role, pid, at))
                series.samples.append(Sample(at, rss_bytes(pid) / MIB, len(list(Path(f"/proc/{pid}/fd").iterdir()))))

    def _processes(self) -> Sequence[tuple[str, int]]:
        parts, service = self._site.parts(), self._site.service
        named = [("supervisor" if name == "service" else name, part.pid) for name, part in parts.items() if part.running]
        forking = [("fork server", pid) for pid in (service.fork_server(),) if pid is not None] if service.running else []
        return [*named, *forking, *(("worker", pid) for pid in service.workers()), ("driver", os.getpid())]


def rss_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE


@contextlib.asynccontextmanager
async def sampling(site: Site) -> AsyncIterator[Resources]:
    resources = Resources(site)

    async def look() -> None:
        while True:
            resources.look()
            await asyncio.sleep(EVERY_S)

    task = asyncio.create_task(look())
    try:
        yield resources
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def write_samples(series: Sequence[Series], path: Path) -> None:
    """Every sample as a line: whose, seconds of the run, resident MiB, descriptors."""
    with path.open("w", newline="") as file:
        lines = csv.writer(file)
        lines.writerow(("role", "pid", "at_s", "rss_mb", "fds"))
        for life in series:
            lines.writerows((life.role, life.pid, round(one.at_s, 1), round(one.rss_mb, 2), one.fds) for one in life.samples)


def slope(lives: Sequence[Sequence[tuple[float, float]]]) -> float | None:
    """The least-squares slope, per hour, that all lives share, each with a level of its own. Points: (seconds, value).

    None where there are too few points to say.
    """
    above = below = 0.0
    points = 0
    for life in (one for one in lives if len(one) >= LEAST):
        mean_at = sum(at for at, _ in life) / len(life)
        mean = sum(value for _, value in life) / len(life)
        above += sum((at - mean_at) * (value - mean) for at, value in life)
        below += sum((at - mean_at) ** 2 for at, _ in life)
        points += len(life)
    return above / below * HOUR_S if points and below else None


def slopes(series: Sequence[Series], warm_up_s: float, of: Callable[[Sample], float]) -> Mapping[str, float | None]:
    """By role. The first warm_up_s of every life are left out."""
    lives: defaultdict[str, list[list[tuple[float, float]]]] = defaultdict(list)
    for one in series:
        warm = [sample for sample in one.samples if sample.at_s - one.began_s >= warm_up_s]
        lives[one.role].append([(sample.at_s, of(sample)) for sample in warm])
    return {role: slope(several) for role, several in lives.items()}
