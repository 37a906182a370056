"""The one place that catches everything: what a filter raises, and which way it fails then; what an observer raises."""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Generator
from functools import partial
from time import perf_counter_ns
from typing import Any, TypeVar

from headrace.ext_proc.core.seats import Ask, FilterFailed, Resolution, failure
from headrace.ext_proc.core.session import EndStream, Link
from headrace.ext_proc.core.verdict import PASS, Continue, Reply, Verdict

log = logging.getLogger(__name__)
T = TypeVar("T")

_NOT_OURS = (asyncio.CancelledError, KeyboardInterrupt, SystemExit, GeneratorExit)
"""How the loop and the process stop what they run; no failure of a filter."""

_VERDICTS = (Continue, Reply)


async def guard(ask: Ask, deadline: float) -> Resolution:
    """The filter's verdict; or, when it raises or runs out of time, the verdict its link prescribes for that.

    deadline: loop time in seconds by which the proxy wants its answer; the link's own time-out may come earlier.
    """
    started = perf_counter_ns()
    try:
        coroutine = ask.run()
        try:
            waits_for = coroutine.send(None)
        except StopIteration as done:  # a hook that decides without waiting, as most do, costs no timer
            verdict = _checked(done.value)
        else:
            verdict = _checked(await _in_time(coroutine, waits_for, ask.link, deadline))
    except _NOT_OURS:
        raise
    except BaseException as error:  # also the panics of Rust extensions, which are no Exceptions
        _report(ask.link, ask.phase, error)
        verdict = PASS if ask.link.fail_open else failure(ask.link)
        return Resolution(verdict, _since(started), type(error).__name__)
    return Resolution(verdict, _since(started))


async def _in_time(coroutine: Coroutine[Any, Any, Verdict], waits_for: Any, link: Link, deadline: float) -> Verdict:
    """The verdict of a hook that was begun and waits for a future. Raises TimeoutError."""
    limit = min(deadline, asyncio.get_running_loop().time() + link.timeout_ms / 1000)
    async with asyncio.timeout_at(limit):
        return await _Begun(coroutine, waits_for)


class _Begun:
    """Awaits the rest of a coroutine that was begun and waits for a future."""

    def __init__(self, coroutine: Coroutine[Any, Any, Verdict], waits_for: Any) -> None:
        self._coroutine = coroutine
        self._waits_for = waits_for

    def __await__(self) -> Generator[Any, Any, Verdict]:
        while True:
            try:
                sent = yield self._waits_for
                resume = partial(self._coroutine.send, sent)
            except BaseException as error:  # a cancellation, or the time-out: the coroutine's to handle
                resume = partial(self._coroutine.throw, error)
            try:
                self._waits_for = resume()
            except StopIteration as done:
                verdict: Verdict = done.value
                return verdict


def shield(link: Link, hook: Callable[[], T]) -> T:
    """`hook()`, a sync hook of the link's filter.

    Raises EndStream as the hook does, and FilterFailed for everything else the hook raises.
    """
    try:
        return hook()
    except (EndStream, *_NOT_OURS):
        raise
    except BaseException as error:
        _report(link, "hook", error)
        raise FilterFailed(link.name) from None


def told(observer: Callable[[T], None], value: T) -> None:
    """`observer(value)`, where what the observer raises must stop nobody else."""
    try:
        observer(value)
    except _NOT_OURS:
        raise
    except BaseException as error:
        name = getattr(observer, "__qualname__", type(observer).__name__)
        log.error("observer failed", extra={"observer": name, "error": type(error).__name__, "at": _place(error)})


def _checked(verdict: Verdict) -> Verdict:
    """Raises TypeError for a hook that forgot to return one."""
    if not isinstance(verdict, _VERDICTS):
        raise TypeError(f"a verdict is Continue or Reply, not {type(verdict).__name__}")
    return verdict


def _report(link: Link, phase: str, error: BaseException) -> None:
    # The message is left out: it may quote the text the filter was reading.
    log.error("filter failed", extra={"filter": link.name, "phase": phase, "error": type(error).__name__, "at": _place(error)})


def _place(error: BaseException) -> str:
    """The line that raised it."""
    where = error.__traceback__
    while where is not None and where.tb_next is not None:
        where = where.tb_next
    return f"{where.tb_frame.f_code.co_filename}:{where.tb_lineno}" if where is not None else "unknown"


def _since(started: int) -> float:
    """Microseconds, with one decimal."""
    return (perf_counter_ns() - started) // 100 / 10
