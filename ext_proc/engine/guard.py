"""The one place that catches everything: what a filter raises, and which way it fails then."""

import asyncio
import logging
from collections.abc import Callable
from time import perf_counter_ns
from typing import TypeVar

from headrace.ext_proc.core.seats import Ask, FilterFailed, Resolution, failure
from headrace.ext_proc.core.session import EndStream, Link
from headrace.ext_proc.core.verdict import PASS, Continue, Reply, Verdict

log = logging.getLogger(__name__)
T = TypeVar("T")

_NOT_OURS = (asyncio.CancelledError, KeyboardInterrupt, SystemExit, GeneratorExit)
"""How the loop and the process stop what they run; no failure of a filter."""


async def guard(ask: Ask, deadline: float) -> Resolution:
    """The filter's verdict; or, when it raises or runs out of time, the verdict its link prescribes for that.

    deadline: loop time in seconds by which the proxy wants its answer; the link's own time-out may come earlier.
    """
    started = perf_counter_ns()
    limit = min(deadline, asyncio.get_running_loop().time() + ask.link.timeout_ms / 1000)
    try:
        async with asyncio.timeout_at(limit):
            verdict = _checked(await ask.run())
    except _NOT_OURS:
        raise
    except BaseException as error:  # also the panics of Rust extensions, which are no Exceptions
        _report(ask.link, ask.phase, error)
        verdict = PASS if ask.link.fail_open else failure(ask.link)
        return Resolution(verdict, _since(started), type(error).__name__)
    return Resolution(verdict, _since(started))


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


def _checked(verdict: Verdict) -> Verdict:
    """Raises TypeError for a hook that forgot to return one."""
    if not isinstance(verdict, Continue | Reply):
        raise TypeError(f"a verdict is Continue or Reply, not {type(verdict).__name__}")
    return verdict


def _report(link: Link, phase: str, error: BaseException) -> None:
    # The message is left out: it may quote the text the filter was reading.
    where = error.__traceback__
    while where is not None and where.tb_next is not None:
        where = where.tb_next
    place = f"{where.tb_frame.f_code.co_filename}:{where.tb_lineno}" if where is not None else "unknown"
    log.error("filter failed", extra={"filter": link.name, "phase": phase, "error": type(error).__name__, "at": place})


def _since(started: int) -> float:
    return (perf_counter_ns() - started) / 1000
