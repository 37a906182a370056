"""`python -m tests.bench.scaling`: how the cost of a request grows, and with what; writes `build/scaling.json`, the figures of
`docs/capacity.md` and their plot."""

import asyncio
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from tests.bench.load import MissingToolError, wrk
from tests.bench.report import machine, versions, write

from . import axes, page, plot, principals, workers

PRINCIPALS, QUICK_PRINCIPALS = (10, 10_000, 1_000_000), (10, 1_000)
WORKERS, QUICK_WORKERS = (1, 2, 4), (1, 2)
CALLS = 4_000


def main(
    out: Annotated[Path, typer.Option(help="where the figures go")] = Path("build/scaling.json"),
    docs: Annotated[Path, typer.Option(help="the page whose figures are made anew; its plot lies beside it")] = Path(page.PAGE),
    rounds: Annotated[int, typer.Option(min=1, help="of every point")] = 5,
    quick: Annotated[bool, typer.Option("--quick", help="one short round of few points, and no page")] = False,
) -> None:
    """Measure everything; takes half an hour. Exit status 1 when wrk is missing."""
    load = os.getloadavg()
    try:
        wrk()
        found = measured(1, quick=True) if quick else measured(rounds, quick=False)
    except MissingToolError as error:
        sys.exit(str(error))
    taken = datetime.now(UTC).isoformat(timespec="seconds")
    found = {**found, "taken": taken, "load_average": load, "machine": machine(), "versions": versions(), "quick": quick}
    write(out, found)
    if not quick:
        plot.draw(found, docs.with_suffix(".png"))
        page.replace(docs, found)


def measured(rounds: int, *, quick: bool) -> dict[str, Any]:
    """The figures, without where and when they were taken."""
    return {
        "rounds": rounds,
        "workers": _workers(QUICK_WORKERS if quick else WORKERS, rounds, 1 if quick else 5),
        "axes": _axes(rounds, quick=quick),
        "principals": _principals(QUICK_PRINCIPALS if quick else PRINCIPALS, CALLS // 10 if quick else CALLS),
    }


def _workers(numbers: Sequence[int], rounds: int, seconds: int) -> Sequence[Mapping[str, Any]]:
    tell("workers")
    with tempfile.TemporaryDirectory(prefix="hr-bench-") as name:
        return asyncio.run(workers.measure(numbers, Path(name), rounds, seconds))


def _axes(rounds: int, *, quick: bool) -> Mapping[str, Mapping[str, float]]:
    """Axis → point → CPU µs of a request. Quick: the first point of each."""
    found: dict[str, dict[str, float]] = {}
    for case in axes.cases():
        if quick and case.axis in found:
            continue
        tell(f"{case.axis}: {case.at}")
        found.setdefault(case.axis, {})[case.at] = axes.measure(case, rounds)
    return found


def _principals(numbers: Sequence[int], calls: int) -> Sequence[Mapping[str, Any]]:
    found = []
    for number in numbers:
        tell(f"{number} principals")
        found.append(principals.measured(number, calls))
    return found


def tell(what: str) -> None:
    """Progress, on standard error."""
    print(f"scaling: {what}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    typer.run(main)
