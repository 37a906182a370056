"""`python -m tests.bench`: bare Envoy, a processor that decides nothing, and Headrace with the full chain, side by side."""

import asyncio
import contextlib
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from headrace.ext_proc.envoy.transport import Transport

from .figures import Run, summarise
from .gateways import Plan, new_folder, plan_bare, plan_headrace, plan_noop, run
from .load import MissingToolError, load, wrk
from .processes import peak_by_part
from .report import document, show, write
from .rounds import CONNECTIONS, FULL, QUICK, Effort, measure
from .upstream import upstream

Make = Callable[[str, Path], Plan]
PLANS: Mapping[str, Make] = {
    "bare": plan_bare,
    "noop": plan_noop,
    "noop-h2": partial(plan_noop, transport=Transport.H2),
    "headrace": plan_headrace,
}


def main(
    out: Annotated[Path, typer.Option(help="where the figures go")] = Path("build/bench.json"),
    quick: Annotated[bool, typer.Option("--quick", help="seconds instead of minutes: that it works, not how fast")] = False,
    with_grpcio: Annotated[bool, typer.Option("--with-grpcio", help="Headrace on grpcio, too")] = False,
) -> None:
    """Measure the gateways and print the table. Exit status 1 when a run is invalid or a tool is missing."""
    try:
        wrk()
        found, runs = asyncio.run(bench(QUICK if quick else FULL, _plans(with_grpcio)))
    except MissingToolError as error:
        sys.exit(str(error))
    write(out, found | {"quick": quick})
    alone = f"{found['upstream']}, {found['upstream_rps']:,.0f} req/s alone"
    note = f"medians of {found['rounds']} rounds; upstream: {alone}; everything is in {out}"
    show(Console(), runs, note)
    raise typer.Exit(0 if found["valid"] else 1)


def _plans(with_grpcio: bool) -> Mapping[str, Make]:
    return {**PLANS, "headrace-grpcio": partial(plan_headrace, transport=Transport.GRPCIO)} if with_grpcio else PLANS


async def bench(effort: Effort, plans: Mapping[str, Make]) -> tuple[dict[str, object], list[Run]]:
    """The document and its runs."""
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as name:
        async with upstream(new_folder(name, "upstream")) as (kind, url):
            tell("the upstream alone")
            ceiling = await load(url, "none", connections=CONNECTIONS, seconds=effort.alone)
            runs = await _compare(url, effort, plans, Path(name))
    about = {"rounds": effort.rounds, "upstream": kind, "upstream_rps": round(ceiling.rps, 1)}
    return document(runs, **about, taken=datetime.now(UTC).isoformat(timespec="seconds")), runs


async def _compare(url: str, effort: Effort, plans: Mapping[str, Make], directory: Path) -> list[Run]:
    async with contextlib.AsyncExitStack() as stack:
        gateways = [await stack.enter_async_context(run(plan, folder)) for plan, folder in _made(plans, url, directory)]
        samples = await measure(gateways, effort, tell)
        return [summarise(gateway.name, samples[gateway.name], peak_by_part(gateway.roots)) for gateway in gateways]


def _made(plans: Mapping[str, Make], url: str, directory: Path) -> Sequence[tuple[Plan, Path]]:
    folders = {name: new_folder(directory, name) for name in plans}
    return [(make(url, folders[name]), folders[name]) for name, make in plans.items()]


def tell(what: str) -> None:
    """Progress, on standard error."""
    print(f"bench: {what}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    typer.run(main)
