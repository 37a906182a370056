"""`python -m tests.bench`: bare Envoy, a processor that decides nothing, and Headrace with the full chain, side by side."""

import asyncio
import contextlib
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from .figures import Run, summarise
from .gateways import Plan, plan_bare, plan_headrace, plan_noop, run
from .load import MissingToolError, load, wrk
from .processes import peak_by_part
from .report import document, show, write
from .rounds import CONNECTIONS, FULL, QUICK, Effort, measure
from .upstream import upstream

PLANS = (plan_bare, plan_noop, plan_headrace)


def main(
    out: Annotated[Path, typer.Option(help="where the figures go")] = Path("build/bench.json"),
    quick: Annotated[bool, typer.Option("--quick", help="seconds instead of minutes: that it works, not how fast")] = False,
) -> None:
    """Measure the gateways and print the table. Exit status 1 when a run is invalid or a tool is missing."""
    try:
        wrk()
        found, runs = asyncio.run(bench(QUICK if quick else FULL))
    except MissingToolError as error:
        sys.exit(str(error))
    write(out, found | {"quick": quick})
    alone = f"{found['upstream']}, {found['upstream_rps']:,.0f} req/s alone"
    note = f"medians of {found['rounds']} rounds; upstream: {alone}; everything is in {out}"
    show(Console(), runs, note)
    raise typer.Exit(0 if found["valid"] else 1)


async def bench(effort: Effort) -> tuple[dict[str, object], list[Run]]:
    """The document and its runs."""
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as name:
        async with upstream(_folder(name, "upstream")) as (kind, url):
            tell("the upstream alone")
            ceiling = await load(url, "none", connections=CONNECTIONS, seconds=effort.alone)
            runs = await _compare(url, effort, Path(name))
    about = {"rounds": effort.rounds, "upstream": kind, "upstream_rps": round(ceiling.rps, 1)}
    return document(runs, **about, taken=datetime.now(UTC).isoformat(timespec="seconds")), runs


async def _compare(url: str, effort: Effort, directory: Path) -> list[Run]:
    async with contextlib.AsyncExitStack() as stack:
        gateways = [await stack.enter_async_context(run(plan, folder)) for plan, folder in _plans(url, directory)]
        samples = await measure(gateways, effort, tell)
        return [summarise(gateway.name, samples[gateway.name], peak_by_part(gateway.roots)) for gateway in gateways]


def _plans(url: str, directory: Path) -> Sequence[tuple[Plan, Path]]:
    folders = [_folder(directory, make.__name__) for make in PLANS]
    return [(make(url, folder), folder) for make, folder in zip(PLANS, folders, strict=True)]


def _folder(parent: str | Path, name: str) -> Path:
    folder = Path(parent, name)
    folder.mkdir()
    return folder


def tell(what: str) -> None:
    """Progress, on standard error."""
    print(f"bench: {what}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    typer.run(main)
