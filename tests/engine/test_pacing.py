"""Work that may wait leaves the loop to those who cannot."""

import asyncio
import time

from headrace.ext_proc.engine.pacing import SHARE, Pace


class Thread:
    """Its processor time, as told."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


async def test_a_quiet_loop_lets_it_begin() -> None:
    await Pace(Thread()).moment()


async def test_while_the_loop_is_busy_nothing_begins() -> None:
    loop, busy = asyncio.get_running_loop(), True

    def work() -> None:
        if busy:
            time.sleep(0.001)  # the loop's own time, of which it is about
            loop.call_soon(work)

    work()
    waiting = loop.create_task(Pace(Thread()).moment())
    for _ in range(20):
        await asyncio.sleep(0)
    assert not waiting.done()
    busy = False
    await waiting


async def test_what_a_piece_took_is_owed_before_the_next() -> None:
    thread, loop = Thread(), asyncio.get_running_loop()
    pace = Pace(thread)
    await pace.moment()
    thread.seconds += 0.01
    pace.done()
    before = loop.time()
    await pace.moment()
    assert loop.time() - before >= 0.009 * (1 / SHARE - 1)
