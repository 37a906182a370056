"""A search on several processors: each takes every n-th seed."""

import gc
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from multiprocessing import get_context

from tests.simulation.planted import PLANTED
from tests.simulation.search import Searched, search
from tests.simulation.world import run


@contextmanager
def planted(name: str) -> Iterator[None]:
    """The bug of this name; "": none."""
    if not name:
        yield
        return
    with PLANTED[name]():
        yield


def search_with(jobs: int, steps: int, seed: int, plant: str = "") -> Searched:
    """`steps` in all. failure: the one of the lowest seed, of those that were met."""
    part = partial(_part, steps // jobs, jobs, plant)
    if jobs == 1:
        return part(seed)
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        return _together(list(pool.map(part, range(seed, seed + jobs))))


def _part(steps: int, stride: int, plant: str, seed: int) -> Searched:
    run(seed, exchanges=1)
    gc.collect()
    gc.freeze()  # as a worker does, with what start-up has made
    with planted(plant):
        return search(steps, seed, stride)


def _together(parts: list[Searched]) -> Searched:
    failures = [part.failure for part in parts if part.failure is not None]
    return Searched(
        sum(part.runs for part in parts),
        sum(part.steps for part in parts),
        sum(part.exchanges for part in parts),
        sum(part.seconds for part in parts),
        min(failures, key=lambda outcome: outcome.seed, default=None),
        set().union(*(part.met for part in parts)),
    )
