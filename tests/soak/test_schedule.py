"""Which fault comes when."""

from random import Random
from typing import ClassVar, cast

import pytest

from tests.soak.faults.base import Fault, Window
from tests.soak.run import Plan
from tests.soak.schedule import Schedule
from tests.soak.site import Site

NOBODY = cast("Site", None)


class Killing(Fault):
    kind: ClassVar[str] = "killing"
    ends_lives: ClassVar[bool] = True

    async def strike(self, site: Site, random: Random) -> Window:
        return Window(self.kind, 0, 1)


class Slow(Killing):
    kind: ClassVar[str] = "slow"
    ends_lives: ClassVar[bool] = False


class Torn(Slow):
    kind: ClassVar[str] = "torn"


def drawn(schedule: Schedule, count: int) -> list[str]:
    return [fault.kind for _ in range(count) if (fault := schedule._next()) is not None]


def test_every_fault_comes_once_before_any_comes_again_and_a_seed_repeats_them() -> None:
    faults = [Killing(), Slow(), Torn()]
    kinds = drawn(Schedule(NOBODY, faults, 5), 30)
    assert all(len(set(kinds[at : at + 3])) == 3 for at in range(0, 30, 3))
    assert kinds == drawn(Schedule(NOBODY, faults, 5), 30)


def test_the_services_processes_are_spared_and_owed_nothing_else() -> None:
    schedule = Schedule(NOBODY, [Killing(), Slow(), Torn()], 5)
    schedule.sparing = True
    assert sorted(drawn(schedule, 20)) == ["slow"] * 10 + ["torn"] * 10
    schedule.sparing = False
    assert "killing" in drawn(schedule, 3)
    only = Schedule(NOBODY, [Killing()], 5)
    only.sparing = True
    assert drawn(only, 3) == []


@pytest.mark.parametrize(("rounds", "spared"), [(1, []), (3, []), (4, [1, 2]), (12, [3, 4, 5, 6, 7, 8])])
def test_the_middle_half_of_a_long_run_spares_them(rounds: int, spared: list[int]) -> None:
    plan = Plan.of_minutes(rounds * 5, 1, 20)
    assert plan.rounds == rounds
    assert [number for number in range(rounds) if plan.spares(number)] == spared
