"""Many runs, one seed after the other, until one of them fails or they have had enough steps."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from time import process_time

from tests.simulation.chance import Trace
from tests.simulation.shrink import Shrinker
from tests.simulation.world import Outcome, run


@dataclass
class Searched:
    """seconds: of the processor. failure: the first run that failed."""

    runs: int = 0
    steps: int = 0
    exchanges: int = 0
    seconds: float = 0.0
    failure: Outcome | None = None
    met: set[str] = field(default_factory=set)


def search(steps: int, seed: int, stride: int = 1) -> Searched:
    """Runs of `seed` and of every `stride`-th after it."""
    searched = Searched()
    began = process_time()
    for outcome in _runs(seed, stride):
        searched.runs += 1
        searched.steps += outcome.steps
        searched.exchanges += outcome.exchanges
        searched.met |= outcome.met
        if outcome.violation:
            searched.failure = outcome
        if outcome.violation or searched.steps >= steps:
            break
    searched.seconds = process_time() - began
    return searched


def _runs(seed: int, stride: int) -> Iterator[Outcome]:
    while True:
        yield run(seed)
        seed += stride


def shortest(failure: Outcome, tries: int = 400) -> Outcome:
    """The shortest run found that fails as this one does: in the same sentence, numbers apart."""
    wanted = _kind(failure.violation)

    def fails(trace: Trace) -> bool:
        return _kind(run(failure.seed, trace).violation) == wanted

    return run(failure.seed, Shrinker(fails, tries).shrunk(failure.trace))


def _kind(violation: str) -> str:
    """What is wrong, without which exchange it was and how much."""
    said = violation.partition("): ")[2] or violation
    return "".join(sign for sign in said if sign.isalpha() or sign == " ")[:24]
