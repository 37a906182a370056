"""`python -m tests.simulation`: runs from a seed on; a run that fails is shortened, and printed so that it can be run again."""

import json
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from tests.simulation.planted import PLANTED
from tests.simulation.search import Searched, search, shortest
from tests.simulation.world import Outcome, run


def main(
    steps: Annotated[int, typer.Option(help="Run seed after seed until so many steps have been made.")] = 1_000_000,
    seed: Annotated[int, typer.Option(help="The first seed.")] = 1,
    plant: Annotated[str, typer.Option(help=f"A bug to find: {', '.join(PLANTED)}.")] = "",
    save: Annotated[Path | None, typer.Option(help="Where to write the choices of a run that fails.")] = None,
    replay: Annotated[Path | None, typer.Option(help="Run once, with the choices of this file.")] = None,
    tries: Annotated[int, typer.Option(help="Runs for shortening one that fails.")] = 400,
) -> None:
    """Simulates the service. Exits with 1 where something was violated."""
    with ExitStack() as stack:
        if plant:
            stack.enter_context(PLANTED[plant]())
        outcome = _again(replay) if replay is not None else _first(steps, seed, tries, save)
    if outcome is not None:
        raise typer.Exit(1)


def _again(path: Path) -> Outcome | None:
    told = json.loads(path.read_text())
    made = {lane: {int(at): value for at, value in choices.items()} for lane, choices in told["trace"].items()}
    return _printed(run(told["seed"], made))


def _first(steps: int, seed: int, tries: int, path: Path | None) -> Outcome | None:
    searched = search(steps, seed)
    typer.echo(_summed(searched))
    if searched.failure is None:
        return None
    typer.echo(f"seed {searched.failure.seed}: {searched.failure.violation}\nshortening {len(searched.failure.told)} choices ...")
    outcome = shortest(searched.failure, tries)
    if path is not None:
        path.write_text(json.dumps({"seed": outcome.seed, "trace": outcome.trace}))
    return _printed(outcome)


def _printed(outcome: Outcome) -> Outcome | None:
    """The outcome, where it failed."""
    for line in outcome.told:
        typer.echo(f"  {line}")
    typer.echo(f"seed {outcome.seed}, {outcome.steps} steps: {outcome.violation or 'nothing was violated'}")
    return outcome if outcome.violation else None


def _summed(searched: Searched) -> str:
    pace = 60 * searched.steps / searched.seconds / 1e6
    counts = f"{searched.runs} runs, {searched.exchanges} exchanges, {searched.steps} steps"
    return f"{counts} in {searched.seconds:.1f} s of one processor: {pace:.2f} million steps a minute"


typer.run(main)
