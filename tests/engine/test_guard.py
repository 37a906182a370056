"""Whatever a filter does, its exchange gets a verdict; what stops the loop passes through."""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from headrace.ext_proc.core.seats import Ask, FilterFailed, failure
from headrace.ext_proc.core.session import EndStream, Link
from headrace.ext_proc.core.verdict import PASS, Continue, Verdict
from headrace.ext_proc.engine.guard import guard, shield
from tests.garbage import no_garbage
from tests.kit import DENIED, filter_of

CLOSED = Link("strict", filter_of())
OPEN = Link("lax", filter_of(), fail_open=True)


Run = Callable[[], Coroutine[Any, Any, Any]]


class Panic(BaseException):
    """As Rust extensions raise: no Exception."""


def ask(run: Run, link: Link = CLOSED) -> Ask:
    return Ask(link, "request", run)


def raises(error: BaseException) -> Run:
    async def run() -> Verdict:
        raise error

    return run


def gives(verdict: Any) -> Run:
    async def run() -> Any:
        return verdict

    return run


async def never() -> Verdict:
    await asyncio.Event().wait()
    return PASS


def soon() -> float:
    return asyncio.get_running_loop().time() + 30


@pytest.mark.parametrize("verdict", [PASS, DENIED, Continue(reason="x")])
async def test_a_verdict_passes_through_with_its_time(verdict: Verdict) -> None:
    resolution = await guard(ask(gives(verdict)), soon())
    assert (resolution.verdict, resolution.error) == (verdict, None)
    assert resolution.elapsed_us > 0


@pytest.mark.parametrize("error", [ValueError("secret"), EndStream(DENIED), TimeoutError(), Panic()], ids=repr)
async def test_a_filter_that_raises_fails_as_its_link_says(error: BaseException) -> None:
    closed, opened = await guard(ask(raises(error)), soon()), await guard(ask(raises(error), OPEN), soon())
    assert (closed.verdict, closed.error) == (failure(CLOSED), type(error).__name__)
    assert (opened.verdict, opened.error) == (PASS, type(error).__name__)


@pytest.mark.parametrize("value", [None, True, "continue", Continue])
async def test_what_is_no_verdict_is_a_failure(value: Any) -> None:
    resolution = await guard(ask(gives(value)), soon())
    assert (resolution.verdict, resolution.error) == (failure(CLOSED), "TypeError")


async def test_a_filter_that_hangs_is_stopped_at_its_own_time_out() -> None:
    resolution = await guard(ask(never, Link("slow", filter_of(), timeout_ms=1)), soon())
    assert (resolution.verdict, resolution.error) == (failure(Link("slow", filter_of())), "TimeoutError")


async def test_nothing_of_a_filter_that_is_stopped_is_left_to_the_garbage_collector() -> None:
    slow = Link("slow", filter_of(), timeout_ms=1)
    with no_garbage():
        for _ in range(2):  # what the last exception was, the task remembers
            assert (await guard(ask(never, slow), soon())).error == "TimeoutError"


async def test_nothing_of_a_filter_whose_call_fails_is_left_to_it_either() -> None:
    def called() -> asyncio.Future[Verdict]:
        loop = asyncio.get_running_loop()
        reply: asyncio.Future[Verdict] = loop.create_future()
        loop.call_soon(reply.set_exception, ValueError("the store is down"))
        return reply

    async def asks() -> Verdict:
        return await called()

    with no_garbage():
        for _ in range(2):
            assert (await guard(ask(asks), soon())).error == "ValueError"


async def test_a_filter_that_hangs_is_stopped_at_the_deadline_of_the_proxy() -> None:
    link = Link("lax", filter_of(), fail_open=True, timeout_ms=600_000)
    resolution = await guard(ask(never, link), asyncio.get_running_loop().time() + 0.001)
    assert (resolution.verdict, resolution.error) == (PASS, "TimeoutError")


async def test_a_verdict_that_needs_no_waiting_is_given_even_after_the_deadline() -> None:
    assert (await guard(ask(gives(DENIED)), 0.0)).verdict is DENIED


async def test_a_hook_may_wait_as_often_as_it_likes() -> None:
    async def waits() -> Verdict:
        for _ in range(5):
            await asyncio.sleep(0)
        assert await asyncio.to_thread(len, "abc") == 3
        assert sum(await asyncio.gather(asyncio.sleep(0, 1), asyncio.sleep(0, 2))) == 3
        return DENIED

    assert (await guard(ask(waits), soon())).verdict is DENIED


async def test_a_hook_that_fails_after_it_has_waited_fails_as_its_link_says() -> None:
    async def fails() -> Verdict:
        await asyncio.sleep(0)
        raise KeyError("x")

    assert (await guard(ask(fails), soon())).error == "KeyError"


async def test_a_time_out_of_the_hooks_own_is_its_own() -> None:
    async def gives_up() -> Verdict:
        try:
            async with asyncio.timeout(0.001):
                await never()
        except TimeoutError:
            return DENIED
        raise AssertionError

    resolution = await guard(ask(gives_up), soon())
    assert (resolution.verdict, resolution.error) == (DENIED, None)


async def test_a_hook_out_of_time_may_clean_up() -> None:
    cleaned: list[str] = []

    async def tidy() -> Verdict:
        try:
            await never()
        finally:
            await asyncio.sleep(0)
            cleaned.append("up")
        return PASS

    resolution = await guard(ask(tidy, Link("slow", filter_of(), timeout_ms=1)), soon())
    assert (cleaned, resolution.error) == (["up"], "TimeoutError")


async def test_a_hook_that_is_no_coroutine_is_a_failure() -> None:
    not_async: Any = lambda: PASS  # noqa: E731
    assert (await guard(ask(not_async), soon())).verdict == failure(CLOSED)


async def test_cancellation_passes_through_a_filter_that_fails_open() -> None:
    task = asyncio.create_task(guard(ask(never, OPEN), soon()))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize("error", [asyncio.CancelledError(), GeneratorExit()], ids=repr)
async def test_what_stops_a_task_is_no_failure_of_a_filter(error: BaseException) -> None:
    with pytest.raises(type(error)):
        await guard(ask(raises(error), OPEN), soon())


def test_a_failure_of_the_filter_is_logged_without_its_words(caplog: pytest.LogCaptureFixture) -> None:
    def fails() -> None:
        raise ValueError("ann@example.org")

    with caplog.at_level(logging.ERROR), pytest.raises(FilterFailed):
        shield(CLOSED, fails)
    (record,) = caplog.records
    assert (record.__dict__["filter"], record.__dict__["error"]) == ("strict", "ValueError")
    assert "test_guard.py" in record.__dict__["at"]
    assert "ann@example.org" not in str(record.__dict__)


@pytest.mark.parametrize("error", [ValueError(), Panic(), KeyError("x")], ids=repr)
def test_a_hook_that_raises_is_a_failed_filter(error: BaseException) -> None:
    def fails() -> None:
        raise error

    with pytest.raises(FilterFailed, match="strict"):
        shield(CLOSED, fails)


@pytest.mark.parametrize("error", [EndStream(DENIED), KeyboardInterrupt(), SystemExit()], ids=repr)
def test_the_end_of_a_stream_and_of_the_process_pass_through_the_shield(error: BaseException) -> None:
    def ends() -> None:
        raise error

    with pytest.raises(type(error)):
        shield(CLOSED, ends)


def test_the_shield_gives_what_the_hook_gives() -> None:
    assert shield(CLOSED, lambda: 7) == 7
