"""The figures as a picture: what a request costs, along each axis."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

INCHES, DOTS = (10.0, 6.0), 80
NUMBERS = ("prompt, bytes", "budgets", "overrides")
HISTORY = ("messages, all new", "messages, all but two seen before")


def draw(found: Mapping[str, Any], path: Path) -> None:
    """A PNG, the same for the same figures."""
    mpl.rcParams["svg.hashsalt"] = "headrace"
    figure = Figure(figsize=INCHES, layout="constrained")
    panels: Sequence[Axes] = figure.subplots(2, 3).flatten()
    for panel, axis in zip(panels, NUMBERS, strict=False):
        _line(panel, found["axes"][axis], axis, log=axis == "prompt, bytes")
    for axis in HISTORY:
        _line(panels[3], found["axes"][axis], "messages, of 200 bytes", log=True, label=axis.partition(", ")[2])
    panels[3].legend(fontsize="small")
    _workers(panels[4], found["workers"])
    _principals(panels[5], found["principals"])
    figure.savefig(path, dpi=DOTS, metadata={"Software": None})


def _line(panel: Axes, points: Mapping[str, float], title: str, *, log: bool, label: str = "") -> None:
    panel.plot([float(at) for at in points], list(points.values()), marker="o", label=label)
    panel.set(title=title, ylabel="CPU µs a request")
    if log:
        panel.set(xscale="log", yscale="log")
    else:
        panel.set(ylim=(0, None))


def _workers(panel: Axes, rows: Sequence[Mapping[str, Any]]) -> None:
    names = [str(row["workers"]) for row in rows]
    bottom = [0.0] * len(rows)
    for part in rows[0]["cpu_s_per_1000"]:
        heights = [row["cpu_s_per_1000"][part] for row in rows]
        panel.bar(names, heights, bottom=bottom, label=part)
        bottom = [under + height for under, height in zip(bottom, heights, strict=True)]
    panel.set(title="workers", ylabel="CPU s per 1,000 requests")
    panel.legend(fontsize="small")


def _principals(panel: Axes, rows: Sequence[Mapping[str, Any]]) -> None:
    numbers = [row["principals"] for row in rows]
    panel.plot(numbers, [row["p50_us"] for row in rows], marker="o", label="p50, µs")
    panel.plot(numbers, [row["server_us"] for row in rows], marker="o", label="server's CPU, µs")
    panel.set(title="principals in the store: a reservation", xscale="log", ylim=(0, None))
    panel.legend(fontsize="small")
