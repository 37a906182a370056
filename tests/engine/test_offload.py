"""Heavy work runs in threads, bounded in number."""

import asyncio
import threading
from collections.abc import Iterator

import pytest

from headrace.ext_proc.engine.offload import Overloaded, ThreadOffload


@pytest.fixture
def offload() -> Iterator[ThreadOffload]:
    pool = ThreadOffload(threads=1, waiting=1)
    yield pool
    pool.close()


async def test_work_runs_in_another_thread_and_gives_its_result(offload: ThreadOffload) -> None:
    name = await offload.run(lambda prefix: prefix + threading.current_thread().name, "on ")
    assert name.startswith("on headrace-offload")
    assert offload.pending == 0


async def test_what_the_work_raises_is_raised(offload: ThreadOffload) -> None:
    with pytest.raises(ZeroDivisionError):
        await offload.run(divmod, 1, 0)
    assert offload.pending == 0


async def test_a_job_beyond_the_bound_is_refused_and_room_comes_back(offload: ThreadOffload) -> None:
    gate = threading.Event()
    running = [asyncio.create_task(offload.run(gate.wait, 30.0)) for _ in range(2)]
    await asyncio.sleep(0)
    assert offload.pending == 2
    with pytest.raises(Overloaded, match="2 heavy jobs"):
        await offload.run(gate.wait, 30.0)
    gate.set()
    assert await asyncio.gather(*running) == [True, True]
    assert await offload.run(len, "abc") == 3


async def test_a_caller_that_gives_up_leaves_its_job_in_the_count_until_it_ends(offload: ThreadOffload) -> None:
    gate, started = threading.Event(), threading.Event()

    def work() -> bool:
        started.set()
        return gate.wait(30.0)

    task = asyncio.create_task(offload.run(work))
    await asyncio.to_thread(started.wait, 30.0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    still = offload.pending
    gate.set()
    offload.close()
    assert (still, offload.pending) == (1, 0)


async def test_close_drops_the_jobs_that_wait(offload: ThreadOffload) -> None:
    gate = threading.Event()
    first, second = (asyncio.create_task(offload.run(gate.wait, 30.0)) for _ in range(2))
    await asyncio.sleep(0)
    closing = asyncio.create_task(asyncio.to_thread(offload.close))
    with pytest.raises(asyncio.CancelledError):
        await second
    gate.set()
    assert await first
    await closing
