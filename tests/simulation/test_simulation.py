"""The product under simulation: nothing is violated, and every run can be had again."""

import os
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from tests.simulation.__main__ import main
from tests.simulation.parallel import search_with
from tests.simulation.planted import PLANTED
from tests.simulation.search import search, shortest
from tests.simulation.world import run

LONG = bool(os.environ.get("HEADRACE_LONG"))
STEPS = 5_000_000 if LONG else 15_000
BOUND = 100_000
"""Steps within which each planted bug must be found; the hardest of them takes 20,000."""

MET = {
    *("decision handed_off", "decision refused", "decision completed", "decision aborted", "decision cut"),
    *("settlement settled", "settlement kept", "settlement released", "settlement unknown_lease", "news lost"),
    *("status 0", "status 200", "status 400", "status 401", "status 403", "status 429", "status 503", "status 504"),
    *("code budget.exhausted", "code budget.unavailable", "code saboteur.failed", "code model.not_allowed", "code body.not_json"),
    *("out of order", "a slow turn", "store", "hangs up", "the entry comes late, twice, never", "trouble", "in a burst"),
    *("repeats another's token", "makes an address up", "the upstream dies", "talks nonsense", "saboteur raises in event"),
}
"""What a run of the tests must have met, or it has shown nothing."""


@pytest.mark.timeout(1800)
def test_nothing_is_violated_whatever_happens() -> None:
    searched = search(STEPS, seed=1)
    assert searched.failure is None, f"python -m tests.simulation --seed {searched.failure.seed}: {searched.failure.violation}"
    assert searched.steps >= STEPS
    assert set(searched.met) >= MET, f"never met: {MET - set(searched.met)}"


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_bug_is_found_and_was_not_there_before(name: str) -> None:
    with PLANTED[name]():
        searched = search(BOUND, seed=1)
    assert searched.failure is not None, f"{name} was not found within {searched.steps} steps"
    assert run(searched.failure.seed).violation == ""


@pytest.mark.parametrize("seed", [4, 7])
def test_the_same_seed_is_the_same_run(seed: int) -> None:
    first, again = run(seed), run(seed)
    assert (first.steps, first.trace, first.told) == (again.steps, again.trace, again.told)
    assert first.steps > 100


@pytest.mark.parametrize("seed", [4, 7])
def test_a_run_can_be_had_again_from_what_was_chosen(seed: int) -> None:
    drawn = run(seed)
    replayed = run(seed + 1, drawn.trace)
    assert (replayed.steps, replayed.trace, replayed.exchanges) == (drawn.steps, drawn.trace, drawn.exchanges)


def test_the_command_shortens_what_it_finds_and_replays_it(tmp_path: Path) -> None:
    app, found = typer.Typer(), tmp_path / "found.json"
    app.command()(main)
    planted = ["--plant", "restores_for_other_tenants", "--jobs", "1"]
    first = CliRunner().invoke(app, [*planted, "--steps", "50000", "--tries", "20", "--save", str(found)])
    assert first.exit_code == 1 and "million steps a minute" in first.output
    again = CliRunner().invoke(app, [*planted, "--replay", str(found)])
    assert again.exit_code == 1 and again.output.splitlines()[-1] == first.output.splitlines()[-1]
    mended = CliRunner().invoke(app, ["--replay", str(found)])
    assert mended.exit_code == 0 and "nothing was violated" in mended.output
    assert CliRunner().invoke(app, ["--plant", "nothing"]).exit_code == 2


def test_many_processors_find_the_run_that_one_finds() -> None:
    alone, together = (search_with(jobs, BOUND, 1, "restores_for_other_tenants") for jobs in (1, 2))
    assert alone.failure is not None and together.failure is not None
    assert (together.failure.seed, together.failure.violation) == (alone.failure.seed, alone.failure.violation)
    assert (together.runs, together.steps, together.met) == (alone.runs, alone.steps, alone.met)


def test_the_kinds_of_steps_are_counted() -> None:
    outcome = run(4, counted=True)
    assert sum(outcome.kinds.values()) == outcome.steps == run(4).steps
    assert outcome.kinds.keys() >= {"task Worker._served", "task Carried.run", "callback StoreLink._apply"}


def test_other_seeds_are_other_runs() -> None:
    assert len({run(seed).steps for seed in range(1, 6)}) == 5


def test_what_fails_is_shortened_to_what_makes_it_fail() -> None:
    with PLANTED["restores_for_other_tenants"]():
        failure = search(BOUND, seed=1).failure
        assert failure is not None
        short = shortest(failure, tries=400 if LONG else 30)
        assert short.violation
        assert len(short.told) < len(failure.told) / 2
        assert run(short.seed, short.trace).violation == short.violation
