"""The figures of `docs/capacity.md`, between its two marks: tables, and the arithmetic of an example."""

from collections.abc import Iterator, Mapping, Sequence
from math import ceil
from pathlib import Path
from typing import Any

from tests.bench.peers import table

PAGE = "docs/capacity.md"
BEGIN, END = "<!-- figures: python -m tests.bench.scaling -->", "<!-- end of figures -->"

PEAK, CALLERS, ASIDE = 500, 20_000, 0.6
"""The example: requests a second at the peak, callers, and how much of a core is to be used."""
GB = 1e9


def replace(page: Path, found: Mapping[str, Any]) -> None:
    """Raises NoPlaceError."""
    table.replace(page, render(found), BEGIN, END)


def render(found: Mapping[str, Any]) -> str:
    """What stands between the marks."""
    return "\n\n".join([_about(found), *_workers(found["workers"]), *_axes(found["axes"]), *_store(found), *_example(found)])


def _about(found: Mapping[str, Any]) -> str:
    machine, load = found["machine"], " ".join(f"{one:.1f}" for one in found["load_average"])
    named = ", ".join(f"{name} {version}" for name, version in found["versions"].items())
    return (
        f"Taken {found['taken']}: {found['rounds']} rounds. Machine: {machine['cpu']}, {machine['cores']} cores, {machine['os']}; "
        f"load average before the run {load}. Versions: {named}.\n\n![What a request costs](capacity.png)"
    )


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ("---", *["---:"] * (len(heads) - 1)), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _workers(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    yield "### Workers"
    heads = ("workers", "CPU s per 1,000 requests: service", "store", "Envoy", "requests/s here", "service, MB")
    cells = [
        (
            str(row["workers"]),
            *(f"{row['cpu_s_per_1000'][part]:.3f}" for part in ("service", "store", "envoy")),
            f"{row['rps']:,.0f}",
            f"{row['pss_mb']['service']:,.0f}",
        )
        for row in rows
    ]
    yield _table(heads, cells)


def _axes(axes: Mapping[str, Mapping[str, float]]) -> Iterator[str]:
    yield "### A request, by what it holds and who sends it"
    yield "CPU of the worker's Python, without its transport."
    for axis, points in axes.items():
        yield _table((axis, "CPU µs a request"), [(at, f"{cost:,.0f}") for at, cost in points.items()])


def _store(found: Mapping[str, Any]) -> Iterator[str]:
    yield "### The store"
    lease = found["principals"][0]["lease_bytes"]
    yield f"A principal has two counters. A lease of two holds {lease:,} bytes until a minute after it was to lapse."
    heads = ("principals", "bytes each", "reservation, p50 µs", "p99 µs", "server's CPU, µs")
    cells = [
        (
            f"{row['principals']:,}",
            f"{row['bytes_each']:,}" if row["principals"] >= 1_000 else "–",
            *(f"{row[name]:,.0f}" for name in ("p50_us", "p99_us", "server_us")),
        )
        for row in found["principals"]
    ]
    yield _table(heads, cells)


def _example(found: Mapping[str, Any]) -> Iterator[str]:
    cost: Mapping[str, float] = found["workers"][0]["cpu_s_per_1000"]
    each = found["principals"][-1]["bytes_each"]
    yield "### An example"
    yield (
        f"{PEAK} chats of 240 bytes a second at the peak, {CALLERS:,} callers with two budgets each, the full chain, cores used to "
        f"{ASIDE:.0%}:"
    )
    parts = {"service": "workers", "store": "cores of Valkey, which has one thread", "envoy": "threads of Envoy (`--concurrency`)"}
    lines = []
    for part, name in parts.items():
        busy = PEAK * cost[part] / 1_000
        lines.append(
            f"- {name}: {PEAK}/s × {cost[part]:.3f} s / 1,000 = {busy:.2f} cores busy; / {ASIDE} = {busy / ASIDE:.2f}, so "
            f"**{ceil(busy / ASIDE)}**"
        )
    lines.append(f"- Valkey's memory: {CALLERS:,} × {each:,} B = {CALLERS * each / GB:.3f} GB, and leases and the ledger above")
    lines.append(f"- one core of a worker, full: 1,000 / {cost['service']:.3f} s = **{1_000 / cost['service']:,.0f} requests/s**")
    lines.append(f"- Valkey's one thread, full: 1,000 / {cost['store']:.3f} s = **{1_000 / cost['store']:,.0f} requests/s**")
    yield "\n".join(lines)
