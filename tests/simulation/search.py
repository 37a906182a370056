"""Many runs, one seed after the other, until one of them fails or they have had enough steps."""

from collections import Counter
from dataclasses import dataclass, field
from itertools import count, islice
from time import process_time

from tests.simulation.chance import Trace
from tests.simulation.shrink import Shrinker
from tests.simulation.world import Outcome, run


@dataclass
class Searched:
    """seconds: of the processor. failure: the first run that failed. met: what has happened, and how often. kinds: of steps."""

    runs: int = 0
    steps: int = 0
    exchanges: int = 0
    seconds: float = 0.0
    failure: Outcome | None = None
    met: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)

    def with_next(self, later: "Searched") -> "Searched":
        """This search and one of later seeds."""
        return Searched(
            self.runs + later.runs,
            self.steps + later.steps,
            self.exchanges + later.exchanges,
            self.seconds + later.seconds,
            self.failure or later.failure,
            self.met + later.met,
            self.kinds + later.kinds,
        )


def search(steps: int | None, seed: int, runs: int | None = None, *, counted: bool = False) -> Searched:
    """Runs of `seed` and of those after it, until so many steps or runs were made. counted: the kinds of steps are, too."""
    searched = Searched()
    began = process_time()
    for number in islice(count(seed), runs):
        outcome = run(number, counted=counted)
        searched.runs += 1
        searched.steps += outcome.steps
        searched.exchanges += outcome.exchanges
        searched.met.update(outcome.met)
        searched.kinds.update(outcome.kinds)
        if outcome.violation:
            searched.failure = outcome
        if outcome.violation or (steps is not None and searched.steps >= steps):
            break
    searched.seconds = process_time() - began
    return searched


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
