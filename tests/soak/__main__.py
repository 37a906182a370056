"""`python -m tests.soak --minutes 60`: writes build/soak.json and plots beside it; status 1 where anything was lost."""

import asyncio
import os
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from tests.soak.plots import plot
from tests.soak.processes import as_urgent
from tests.soak.resources import write_samples
from tests.soak.run import Plan, soak

BUILD = Path("build")


app = typer.Typer(pretty_exceptions_enable=False)


@app.command()
def main(
    minutes: Annotated[float, typer.Option(help="how long requests are sent")] = 60.0,
    seed: Annotated[int, typer.Option(help="repeats a run's decisions")] = 1,
    per_second: Annotated[float, typer.Option(help="requests")] = 25.0,
    only: Annotated[list[str] | None, typer.Option(help="a kind of fault; may be repeated; `none` for no fault at all")] = None,
    warm_up: Annotated[
        float | None, typer.Option(help="minutes of each process's life that the slopes leave out; two, less in short runs")
    ] = None,
    tcp: Annotated[bool, typer.Option("--tcp", help="Envoy calls the service over TCP, whose network breaks as well")] = False,
) -> None:
    """Everything breaks, and nothing is lost."""
    as_urgent(os.getpid())
    plan = Plan.of_minutes(minutes, seed, per_second)
    plan = plan if warm_up is None else replace(plan, warm_up_s=warm_up * 60)
    report = asyncio.run(soak(plan, only or (), tcp=tcp))
    report.write(BUILD / "soak.json")
    write_samples(report.series, BUILD / "soak-processes.csv")
    plot(report, BUILD)
    print((BUILD / "soak.json").read_text())
    raise typer.Exit(bool(report.losses))


if __name__ == "__main__":
    app()
