"""Servers with one pool and with pools by size, as two stacked bars. Needs matplotlib (the extra `reports`)."""

from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from headrace.filters.routing.sizing import Comparison


def draw(found: Comparison, path: Path) -> None:
    """A PNG, whatever the file's name. Raises OSError."""
    figure = Figure(figsize=(6, 4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.bar("one pool", found.servers_without, label=f"all, up to {found.one_pool.max_tokens}")
    bottom = 0
    for pool in found.pools:
        axes.bar("by prompt size", pool.servers, bottom=bottom, label=f"up to {pool.max_tokens} tokens")
        bottom += pool.servers
    axes.set_ylabel("servers")
    axes.set_title(f"{found.requests} requests: {found.saving:.1%} fewer servers")
    axes.legend()
    figure.savefig(path, format="png", dpi=120)
