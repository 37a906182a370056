"""Plots of a run: times with the faults' windows behind them, memory and descriptors."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl

from tests.soak.report import Report
from tests.soak.resources import Sample, Series

mpl.use("Agg")
from matplotlib import pyplot as plt

ROLES = ("worker", "supervisor", "gateway", "store", "driver")
SIZE = (14, 5)


def plot(report: Report, folder: Path) -> Sequence[Path]:
    """The files written: soak-times.png, soak-rss.png, soak-fds.png."""
    return [
        _times(report, folder / "soak-times.png"),
        _processes(report.series, folder / "soak-rss.png", "MiB resident", lambda sample: sample.rss_mb),
        _processes(report.series, folder / "soak-fds.png", "descriptors", lambda sample: sample.fds),
    ]


def _times(report: Report, path: Path) -> Path:
    figure, axes = plt.subplots(figsize=SIZE)
    for window in report.windows:
        axes.axvspan((window.began - report.began) / 60, (window.ended - report.began) / 60, color="tab:red", alpha=0.12, lw=0)
    for faulty, colour in ((False, "tab:blue"), (True, "tab:red")):
        found = [one for one in report.timed if one.faulty is faulty]
        axes.plot([one.at_s / 60 for one in found], [one.ms for one in found], ".", ms=2, color=colour)
    axes.set_yscale("log")
    return _saved(figure, axes, path, "ms to the last byte of a short chat; red: in a fault's window")


def _processes(series: Sequence[Series], path: Path, unit: str, of: Callable[[Sample], float]) -> Path:
    """One line for each life of a process; lives of a role share its colour."""
    figure, axes = plt.subplots(figsize=SIZE)
    for one in series:
        colour = f"C{ROLES.index(one.role) if one.role in ROLES else len(ROLES)}"
        axes.plot([sample.at_s / 60 for sample in one.samples], [of(sample) for sample in one.samples], color=colour, lw=1)
    for index, role in enumerate((*ROLES, "pools")):
        axes.plot([], [], color=f"C{index}", label=role)
    axes.legend(loc="upper left", ncols=len(ROLES) + 1)
    return _saved(figure, axes, path, unit)


def _saved(figure: Any, axes: Any, path: Path, unit: str) -> Path:
    axes.set_xlabel("minutes")
    axes.set_ylabel(unit)
    figure.tight_layout()
    figure.savefig(path, dpi=100)
    plt.close(figure)
    return path
