"""`make bench-peers`: Headrace and other gateways before the same upstream; writes `build/bench-peers.json` and the table of
`docs/peers.md`."""

import asyncio
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace as changed
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from tests.bench.load import MissingToolError, wrk
from tests.bench.report import document, versions, write

from . import environment, table
from .figures import Missing, PeerRun, peer_run
from .gateways import DIRECT, ROWS, UNAVAILABLE, Row
from .phases import FULL, QUICK, Efforts, Peers


def main(
    out: Annotated[Path, typer.Option(help="where the figures go")] = Path("build/bench-peers.json"),
    page: Annotated[Path, typer.Option(help="the page whose table is made anew")] = Path("docs/peers.md"),
    quick: Annotated[
        bool, typer.Option("--quick", help="one short round, in less than eight minutes once all is installed")
    ] = False,
    rounds: Annotated[int, typer.Option(help="rounds in place of the usual number", min=0)] = 0,
    install: Annotated[bool, typer.Option("--install", help="install the peers, and measure nothing")] = False,
    only: Annotated[
        list[str] | None, typer.Option(help="a row to be measured; may be repeated, and leaves the page as it is")
    ] = None,
) -> None:
    """Measure all gateways. Exit status 1 when wrk is missing or nothing could be measured."""
    effort = QUICK if quick else FULL
    effort = changed(effort, load=changed(effort.load, rounds=rounds)) if rounds else effort
    rows = [DIRECT, *(row for row in ROWS if not only or row.name in only)]
    if install:
        peers = Peers(rows, effort, Path(), tell)
        peers.install()
        sys.exit("\n".join(f"{one.name}: {one.why}" for one in peers.missing.values()) or 0)
    load = os.getloadavg()
    try:
        wrk()
        runs, missing = asyncio.run(bench(rows, effort))
    except MissingToolError as error:
        sys.exit(str(error))
    found = about(runs, missing, effort, quick=quick, load=load)
    write(out, found)
    figures = table.render(runs, missing, found)
    print(figures)
    if not only:
        table.replace(page, figures)
    raise typer.Exit(0 if runs else 1)


async def bench(rows: Sequence[Row], effort: Efforts) -> tuple[Sequence[PeerRun], Sequence[Missing]]:
    """The rows with figures, and those without."""
    with tempfile.TemporaryDirectory(prefix="headrace-peers-") as directory:
        peers = Peers(rows, effort, Path(directory), tell)
        tell("installing what is missing")
        peers.install()
        await peers.all()
    direct = peers.measured[DIRECT.name]
    measured = [row for row in rows if row.name not in peers.missing and row is not DIRECT]
    runs = [peer_run(row.name, row.configured, peers.measured[row.name], direct) for row in measured]
    return runs, [*peers.missing.values(), *(Missing(name, why) for name, why in UNAVAILABLE.items())]


def about(
    runs: Sequence[PeerRun], missing: Sequence[Missing], effort: Efforts, *, quick: bool, load: Sequence[float]
) -> dict[str, Any]:
    """The document of `build/bench.json`'s shape, with the rows that are missing and the load of the machine before the run."""
    taken = datetime.now(UTC).isoformat(timespec="seconds")
    more = {"rounds": effort.load.rounds, "quick": quick, "taken": taken, "load_average": load, "missing": missing}
    found = document(runs, **more)
    return {**found, "versions": {**versions(), **environment.pinned()}}


def tell(what: str) -> None:
    """Progress, on standard error."""
    print(f"bench-peers: {what}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    typer.run(main)
