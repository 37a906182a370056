"""A search on several processors: they share one row of seeds, a block at a time; what is met is put together in its order."""

import gc
import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from itertools import count
from multiprocessing import get_context

from tests.simulation.planted import PLANTED
from tests.simulation.search import Searched, search
from tests.simulation.world import run

BLOCK = 25
"""Seeds: a second's work."""


@contextmanager
def planted(name: str) -> Iterator[None]:
    """The bug of this name; "": none."""
    if not name:
        yield
        return
    with PLANTED[name]():
        yield


def processors() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0))


def search_with(jobs: int, steps: int, seed: int, plant: str = "", *, counted: bool = False) -> Searched:
    """Until `steps` were made in all, or a run failed: of those, the one of the lowest seed, however many look for it."""
    if jobs == 1:
        with planted(plant):
            return search(steps, seed, counted=counted)
    found, blocks = Searched(), count(seed, BLOCK)
    with ProcessPoolExecutor(jobs, get_context("spawn"), _ready, (plant,)) as pool:
        ahead = deque(pool.submit(_block, next(blocks), counted) for _ in range(2 * jobs))
        while found.failure is None and found.steps < steps:
            found = found.with_next(ahead.popleft().result())
            ahead.append(pool.submit(_block, next(blocks), counted))
        pool.shutdown(cancel_futures=True)
    return found


_PLANTED = ExitStack()
"""Of a process that has nothing else to do."""


def _ready(plant: str) -> None:
    """What a process is before it begins: a run loads what is loaded once, and what start-up has made is looked through no more."""
    run(1)
    gc.collect()
    gc.freeze()
    _PLANTED.enter_context(planted(plant))


def _block(seed: int, counted: bool) -> Searched:
    return search(None, seed, BLOCK, counted=counted)
