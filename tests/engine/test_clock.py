"""The clock that all who share a store go by, on clocks that a test moves."""

import asyncio
from dataclasses import dataclass

import pytest

from headrace.ext_proc.core.ports import StoreUnavailable
from headrace.ext_proc.engine import clock as clocks
from headrace.ext_proc.engine.clock import SharedClock

HOUR_MS = 3_600_000


@dataclass
class Machine:
    """wall, store: epoch ms. asking_ms, answering_ms: how long a look takes before and after the store reads its clock."""

    wall: int = 10 * HOUR_MS
    store: int = 10 * HOUR_MS
    monotonic: int = 5
    asking_ms: int = 0
    answering_ms: int = 0
    away: bool = False

    def now_ms(self) -> int:
        return self.wall

    def pass_ms(self, ms: int) -> None:
        self.wall, self.store, self.monotonic = self.wall + ms, self.store + ms, self.monotonic + ms

    async def read(self) -> int:
        if self.away:
            raise StoreUnavailable("away")
        self.pass_ms(self.asking_ms)
        told = self.store
        self.pass_ms(self.answering_ms)
        return told

    def clock(self) -> SharedClock:
        return SharedClock(self.read, wall=self, monotonic=lambda: self.monotonic)


def test_before_the_first_look_it_is_the_machines_time_and_goes_on() -> None:
    machine = Machine(wall=7)
    clock = machine.clock()
    machine.pass_ms(100)
    assert clock.now_ms() == 107


@pytest.mark.parametrize("step_ms", [-HOUR_MS, 0, 1, HOUR_MS])
async def test_the_machines_clock_may_be_put_anywhere(step_ms: int) -> None:
    machine = Machine()
    clock = machine.clock()
    await clock.look()
    machine.wall += step_ms
    machine.pass_ms(50)
    assert clock.now_ms() == machine.store
    await clock.look()
    assert clock.now_ms() == machine.store


@pytest.mark.parametrize("wrong_ms", [-HOUR_MS, HOUR_MS])
async def test_a_machine_whose_clock_is_wrong_goes_by_the_stores(wrong_ms: int) -> None:
    machine = Machine()
    machine.wall += wrong_ms
    clock = machine.clock()
    await clock.look()
    assert clock.now_ms() == machine.store


@pytest.mark.parametrize(("asking_ms", "answering_ms"), [(0, 400), (400, 0), (200, 200)])
async def test_a_slow_answer_moves_nothing_that_was_right(asking_ms: int, answering_ms: int) -> None:
    machine = Machine()
    clock = machine.clock()
    await clock.look()
    machine.asking_ms, machine.answering_ms = asking_ms, answering_ms
    await clock.look()
    assert clock.now_ms() == machine.store


@pytest.mark.parametrize(("asking_ms", "answering_ms"), [(0, 400), (400, 0), (200, 200)])
async def test_a_clock_that_is_wrong_is_wrong_by_no_more_than_a_slow_answer_took(asking_ms: int, answering_ms: int) -> None:
    machine = Machine(asking_ms=asking_ms, answering_ms=answering_ms)
    machine.wall += HOUR_MS
    clock = machine.clock()
    await clock.look()
    assert abs(clock.now_ms() - machine.store) <= asking_ms + answering_ms


async def test_while_the_store_is_away_time_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(wall=0)
    clock = machine.clock()
    await clock.look()
    machine.away = True
    with pytest.raises(StoreUnavailable):
        await clock.look()
    machine.pass_ms(HOUR_MS)
    assert clock.now_ms() == machine.store


async def test_following_outlives_a_store_that_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clocks, "LOOK_S", 0.001)
    machine = Machine(away=True)
    clock = machine.clock()
    following = asyncio.create_task(clock.follow())
    await asyncio.sleep(0.01)
    machine.away, machine.store = False, machine.store + HOUR_MS
    async with asyncio.timeout(30):
        while clock.now_ms() != machine.store:  # noqa: ASYNC110  its next look
            await asyncio.sleep(0.001)
    following.cancel()
