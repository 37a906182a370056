"""The one place that catches everything: what a filter raises, and which way it fails then; what an observer raises."""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Generator, Iterable
from time import perf_counter_ns
from types import coroutine
from typing import Any, ParamSpec, TypeVar

from headrace.ext_proc.core.seats import Ask, FilterFailed, Resolution, failure
from headrace.ext_proc.core.session import EndStream, Link
from headrace.ext_proc.core.verdict import PASS, Continue, Reply, Verdict
from headrace.ext_proc.engine.deadlines import deadline_at

log = logging.getLogger(__name__)
P = ParamSpec("P")
T = TypeVar("T")

_NOT_OURS = (asyncio.CancelledError, KeyboardInterrupt, SystemExit, GeneratorExit)
"""How the loop and the process stop what they run; no failure of a filter."""

_VERDICTS = (Continue, Reply)


async def guard(ask: Ask, deadline: float) -> Resolution:
    """The filter's verdict; or, when it raises or runs out of time, the verdict its link prescribes for that.

    deadline: loop time in seconds by which the proxy wants its answer; the link's own time-out may come earlier.
    """
    found = begun(ask, deadline)
    return found if isinstance(found, Resolution) else await found


def begun(ask: Ask, deadline: float) -> Resolution | Coroutine[Any, Any, Resolution]:
    """As `guard`; but a hook that decides without waiting, as most do, costs neither a coroutine nor a timer."""
    started = perf_counter_ns()
    try:
        coroutine = ask.run()
        try:
            waits_for = coroutine.send(None)
        except StopIteration as done:
            return Resolution(_checked(done.value), _since(started))
    except _NOT_OURS:
        raise
    except BaseException as error:  # also the panics of Rust extensions, which are no Exceptions
        return _failed(ask, error, started)
    return _waited(ask, coroutine, waits_for, deadline, started)


def _failed(ask: Ask, error: BaseException, started: int) -> Resolution:
    _report(ask.link, ask.phase, error)
    return Resolution(PASS if ask.link.fail_open else failure(ask.link), _since(started), type(error).__name__)


async def _waited(ask: Ask, coroutine: Coroutine[Any, Any, Verdict], waits_for: Any, deadline: float, started: int) -> Resolution:
    """The resolution of a hook that was begun and waits for a future."""
    now = asyncio.get_running_loop().time()
    due = deadline_at(min(deadline, now + ask.link.timeout_ms / 1000), now)
    rest = _rest(coroutine, waits_for)
    del waits_for  # a future that fails has its error, whose traceback would have this frame, and that the future
    try:
        try:
            verdict = _checked(await rest)
        finally:
            is_late = due.lift()
    except asyncio.CancelledError as error:
        if not is_late:
            raise
        return _failed(ask, TimeoutError().with_traceback(error.__traceback__), started)
    except _NOT_OURS:
        raise
    except BaseException as error:
        return _failed(ask, error, started)
    return Resolution(verdict, _since(started))


@coroutine
def _rest(begun: Coroutine[Any, Any, Verdict], waits_for: Any) -> Generator[Any, Any, Verdict]:
    """Awaits the rest of a coroutine that was begun and waits for a future."""
    while True:
        try:
            yield waits_for
            break
        except BaseException as error:  # the future's, a cancellation, or the time-out: the coroutine's to handle
            thrown = error
        finally:
            waits_for = None
        try:
            waits_for = begun.throw(thrown)
        except StopIteration as done:
            verdict: Verdict = done.value
            return verdict
        finally:
            del thrown  # its traceback has this frame in it
    rest: Verdict = yield from begun
    return rest


def shield(link: Link, hook: Callable[P, T], *args: P.args, **named: P.kwargs) -> T:
    """`hook(*args)`, a sync hook of the link's filter.

    Raises EndStream as the hook does, and FilterFailed for everything else the hook raises.
    """
    try:
        return hook(*args, **named)
    except (EndStream, *_NOT_OURS):
        raise
    except BaseException as error:
        _report(link, "hook", error)
        raise FilterFailed(link.name) from None


def told(observers: Iterable[Callable[[T], None]], value: T) -> None:
    """Each observer, one after the other; what one raises must stop nobody else."""
    for observer in observers:
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
