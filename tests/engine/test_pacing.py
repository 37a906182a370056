"""Work that may wait leaves the loop to those who cannot."""

import asyncio
import time

import pytest

from headrace.ext_proc.engine.pacing import LEAST_SHARE, SHARE, Pace


class Told:
    """Seconds, as told."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


async def test_a_quiet_loop_lets_it_begin() -> None:
    await Pace(Told()).moment()


async def test_while_the_loop_is_busy_nothing_begins() -> None:
    loop, busy = asyncio.get_running_loop(), True

    def work() -> None:
        if busy:
            time.sleep(0.001)  # the loop's own time, of which it is about
            loop.call_soon(work)

    work()
    waiting = loop.create_task(Pace(Told()).moment())
    for _ in range(20):
        await asyncio.sleep(0)
    assert not waiting.done()
    busy = False
    await waiting


@pytest.mark.parametrize(("busy", "share"), [(0.0, SHARE), (0.25, SHARE / 2), (0.5, LEAST_SHARE), (1.0, LEAST_SHARE)])
async def test_what_a_piece_took_is_owed_before_the_next_and_more_of_it_where_the_thread_is_busy(busy: float, share: float) -> None:
    thread, wall, loop = Told(), Told(), asyncio.get_running_loop()
    pace = Pace(thread, wall)
    thread.seconds, wall.seconds = busy, 1.0
    await pace.moment()
    thread.seconds += 0.001
    pace.done()
    before = loop.time()
    await pace.moment()
    assert loop.time() - before >= 0.0009 * (1 / share - 1)
