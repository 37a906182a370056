"""Many deadlines under one timer: each comes for its own task, none before its time, none twice."""

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import ContextVar

import pytest

from headrace.ext_proc.engine.deadlines import MOST_TICKS, TICK_S, Deadline, deadline_at


def now() -> float:
    return asyncio.get_running_loop().time()


async def waited(seconds: float, wait: Callable[[], Awaitable[object]]) -> bool:
    """Whether the deadline ended the wait."""
    due = deadline_at(now() + seconds, now())
    late = False
    try:
        await wait()
    except asyncio.CancelledError:
        late = due.lift()
        if not late:
            raise
    else:
        assert not due.lift()
    return late


async def never() -> None:
    await asyncio.Event().wait()


async def test_those_of_one_tick_come_together_and_each_task_is_itself_again() -> None:
    began = now()
    assert await asyncio.gather(*(waited(0.02, never) for _ in range(50))) == [True] * 50
    assert now() - began >= 0.02


async def test_their_timer_has_nothing_of_the_task_that_asked_for_it_first(monkeypatch: pytest.MonkeyPatch) -> None:
    whose: ContextVar[str] = ContextVar("whose", default="nobody's")
    seen: list[str] = []
    come = Deadline.come

    def noted(due: Deadline) -> None:
        seen.append(whose.get())
        come(due)

    async def first() -> bool:
        whose.set("the first one's")
        return await waited(0.02, never)

    monkeypatch.setattr(Deadline, "come", noted)
    assert all(await asyncio.gather(first(), waited(0.02, never)))
    assert seen == ["nobody's", "nobody's"]


async def test_one_that_was_lifted_does_not_come() -> None:
    assert not await waited(TICK_S, lambda: asyncio.sleep(0))
    assert await waited(4 * TICK_S, never)  # by then the other's time was over


async def test_one_that_is_over_already_comes_at_once() -> None:
    assert await waited(-1, never)


async def test_a_cancellation_by_others_is_none_of_the_deadlines() -> None:
    task = asyncio.create_task(waited(600, never))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_cancellation_at_the_same_time_is_the_others() -> None:
    async def both() -> bool:
        due, task = deadline_at(now(), now()), asyncio.current_task()
        assert task is not None
        due.come()
        task.cancel()
        try:
            await never()
        except asyncio.CancelledError:
            return due.lift()
        raise AssertionError

    assert not await both()


async def test_far_deadlines_share_few_timers(monkeypatch: pytest.MonkeyPatch) -> None:
    timers: list[float] = []
    start = now()
    monkeypatch.setattr(asyncio.get_running_loop(), "call_at", lambda time, *_, **__: timers.append(time))
    for number in range(10_000):
        deadline_at(start + number / 1000 + 600, start + number / 1000).lift()
    assert 0 < len(timers) <= MOST_TICKS
    assert all(time - start >= 600 for time in timers)
