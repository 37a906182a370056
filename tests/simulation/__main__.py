"""`python -m tests.simulation`: runs from a seed on; a run that fails is shortened, and printed so that it can be run again."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from tests.simulation.parallel import planted, processors, search_with
from tests.simulation.planted import PLANTED
from tests.simulation.search import Searched, shortest
from tests.simulation.world import Outcome, run


def main(
    steps: Annotated[int, typer.Option(help="Run seed after seed until so many steps have been made.")] = 1_000_000,
    seed: Annotated[int, typer.Option(help="The first seed.")] = 1,
    jobs: Annotated[int, typer.Option(min=0, help="Processors to use; 0: all there are.")] = 0,
    plant: Annotated[str, typer.Option(help=f"A bug to find: {', '.join(PLANTED)}.")] = "",
    save: Annotated[Path | None, typer.Option(help="Where to write the choices of a run that fails.")] = None,
    replay: Annotated[Path | None, typer.Option(help="Run once, with the choices of this file.")] = None,
    tries: Annotated[int, typer.Option(help="Runs for shortening one that fails.")] = 400,
    kinds: Annotated[bool, typer.Option(help="Count what the steps were, and what happened.")] = False,
) -> None:
    """Simulates the service. Exits with 1 where something was violated."""
    if plant and plant not in PLANTED:
        raise typer.BadParameter(f"{plant!r} is none of {', '.join(PLANTED)}")
    if replay is not None:
        outcome: Outcome | None = _again(replay, plant)
    else:
        searched = search_with(jobs or processors(), steps, seed, plant, counted=kinds)
        typer.echo("\n".join([*_counts(searched), _summed(searched)]))
        outcome = searched.failure and _shortened(searched.failure, plant, tries)
    if outcome is None:
        return
    if save is not None:
        save.write_text(json.dumps({"seed": outcome.seed, "trace": outcome.trace}))
    for line in outcome.told:
        typer.echo(f"  {line}")
    typer.echo(f"seed {outcome.seed}, {outcome.steps} steps: {outcome.violation or 'nothing was violated'}")
    if outcome.violation:
        raise typer.Exit(1)


def _again(path: Path, plant: str) -> Outcome:
    told = json.loads(path.read_text())
    made = {lane: {int(at): value for at, value in choices.items()} for lane, choices in told["trace"].items()}
    with planted(plant):
        return run(told["seed"], made)


def _shortened(failure: Outcome, plant: str, tries: int) -> Outcome:
    """The shortest run found that fails as this one did."""
    typer.echo(f"seed {failure.seed}: {failure.violation}\nshortening {len(failure.told)} choices ...")
    with planted(plant):
        return shortest(failure, tries)


def _counts(searched: Searched) -> Iterator[str]:
    """A line for each kind of step, and then, where those were counted, for each thing that has happened."""
    for counts in (searched.kinds, searched.met) if searched.kinds else ():
        yield from (f"{number:12,} {what}" for what, number in counts.most_common())


def _summed(searched: Searched) -> str:
    pace = 60 * searched.steps / searched.seconds / 1e6
    counts = f"{searched.runs} runs, {searched.exchanges} exchanges, {searched.steps} steps"
    return f"{counts} in {searched.seconds:.1f} s of processor time: {pace:.2f} million steps a minute on each"


if __name__ == "__main__":
    typer.run(main)
