"""Processes that are measured: what each and its children use, from /proc, and how they end."""

import os
import shutil
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from headrace.ext_proc.envoy.process import LAUNCHER
from headrace.ext_proc.service.names import FORK_SERVER, WORKER

PROC = Path("/proc")
_CPUCLOCK_SCHED = 2
"""Of the clock that clock_getcpuclockid(3) names; /proc has whole ticks of 10 ms."""


def tied(*command: str) -> Sequence[str]:
    """The command as a process that is told to end when this one does, however it ends."""
    return (sys.executable, "-c", LAUNCHER, str(os.getpid()), shutil.which(command[0]) or command[0], *command[1:])


def tree(pid: int) -> Iterator[int]:
    """`pid` and all its descendants that run now."""
    yield pid
    for task in (PROC / str(pid) / "task").iterdir():
        for child in (task / "children").read_text().split():
            yield from tree(int(child))


def name(pid: int) -> str:
    """The program's short name."""
    return (PROC / str(pid) / "comm").read_text().strip()


def cpu_seconds(pid: int) -> float:
    """User and system time of all its threads since it started. Raises OSError where it has ended and been waited for."""
    return time.clock_gettime(~pid << 3 | _CPUCLOCK_SCHED)


def peak_mb(pid: int) -> float:
    """Its largest resident size so far, in MiB. Pages shared with other processes count."""
    status = (PROC / str(pid) / "status").read_text()
    peak = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(peak.split()[1]) / 1024


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes of a process. rss: all its pages that are in memory. pss: each of them divided by the processes that share it."""

    rss: int
    pss: int


def memory(pid: int) -> Memory:
    """What a process holds now."""
    lines = (PROC / str(pid) / "smaps_rollup").read_text().splitlines()
    sizes = {name: int(size.split()[0]) * 1024 for name, _, size in (line.partition(":") for line in lines[1:])}
    return Memory(sizes["Rss"], sizes["Pss"])


_NAMES = {WORKER: "worker", FORK_SERVER: "fork server"}
_MODULES = {"headrace.ext_proc.service.worker": "worker", "headrace.filters": "models"}


def role(pid: int) -> str:
    """What a process of a service is there for: store, worker, fork server, models, or supervisor."""
    if (role := _NAMES.get(name(pid))) is not None:
        return role
    words = (PROC / str(pid) / "cmdline").read_text().split("\0")
    if name(pid).startswith(("valkey", "sh")):
        return "store"
    return next((role for module, role in _MODULES.items() if any(word.startswith(module) for word in words)), "supervisor")


def cpu_by_part(roots: Mapping[str, int]) -> dict[str, float]:
    """CPU seconds of each part's processes; a Valkey among a part's children is a part of its own, `store`."""
    return _sums((part, cpu_seconds(pid)) for part, pid in _parts(roots))


def peak_by_part(roots: Mapping[str, int]) -> dict[str, float]:
    """Peak resident MiB of each part, the sum of its processes' own peaks."""
    return _sums((part, peak_mb(pid)) for part, pid in _parts(roots))


def pss_by_part(roots: Mapping[str, int]) -> dict[str, float]:
    """Bytes of each part now; a page that processes share counts once."""
    return _sums((part, memory(pid).pss) for part, pid in _parts(roots))


def _parts(roots: Mapping[str, int]) -> Iterator[tuple[str, int]]:
    for part, root in roots.items():
        for pid in tree(root):
            yield ("store" if name(pid).startswith("valkey") else part), pid


def _sums(pairs: Iterable[tuple[str, float]]) -> dict[str, float]:
    sums: dict[str, float] = {}
    for key, value in pairs:
        sums[key] = sums.get(key, 0.0) + value
    return sums
