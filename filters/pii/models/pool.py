"""Models in worker processes: a model computes for milliseconds and holds Python's lock, so threads would not help it.

Whoever asks waits, so no event loop may: the methods are called in threads. One batch is a few segments, and workers are handed out
in turn, so that a long text does not keep a short one waiting for long. What waits too long, and what more callers than `WAITING`
want, is refused: the filter then fails as its policy says.
"""

import threading
import weakref
from collections.abc import Iterator, Sequence
from functools import lru_cache
from math import inf
from time import monotonic

from headrace.filters.pii.allowance import ModelsLate
from headrace.filters.pii.models.batches import BYTES, cut, sizes
from headrace.filters.pii.models.desk import Desk, NoneFree, Seat
from headrace.filters.pii.models.names import Model
from headrace.filters.pii.models.process import Worker, ready
from headrace.filters.pii.spans import DetectionTimeout, Span

WAITING = 64
"""Callers at once; each holds its text."""
SHORT = 3 * BYTES
"""Of a short text, some 2 KB. It may take the worker that long ones leave idle."""
START_S = 60.0
"""To import a runtime and load a model, on a machine that does other things as well."""

Found = Sequence[tuple[Span, ...]]
"""The findings in each segment."""


class ModelUnusable(Exception):
    """A model that cannot be loaded, or has no process; the message says why."""


class ModelPool:
    """`workers` processes with the same models; long texts leave one to short ones, where there are several.

    seconds: what a batch may take; a worker that needs longer is replaced.
    """

    def __init__(self, models: Sequence[Model], workers: int = 1, seconds: float = 30.0) -> None:
        self._models = tuple(models)
        self._seconds = seconds
        self._callers = threading.Semaphore(WAITING)
        self._workers = workers
        self._desk = Desk(workers, background=workers - 1)
        self._alive: set[Worker] = set()
        self._entities: Sequence[str] | None = None
        self._finalizer = weakref.finalize(self, _end_all, self._alive)

    @property
    def pids(self) -> Sequence[int]:
        """Of the processes that run now."""
        return [worker.pid for worker in self._alive]

    @property
    def entities(self) -> Sequence[str]:
        """Presidio's names of what the models find; loads them, the first time. Raises ModelUnusable, DetectionTimeout."""
        if self._entities is None:
            self._return(self._taken(monotonic() + START_S, short=True))
        assert self._entities is not None
        return self._entities

    def load(self) -> None:
        """Starts every worker: a text that came first would wait a second for it. Raises ModelUnusable, DetectionTimeout."""
        taken: list[Worker] = []
        try:
            while len(taken) < self._workers:
                taken.append(self._taken(monotonic(), short=True))
        except NoneFree:
            return  # the others are at work
        finally:
            for worker in taken:
                self._return(worker)

    def find(self, texts: Sequence[str]) -> Found:
        """The findings in each segment. Raises DetectionTimeout, ModelUnusable."""
        known = {index: spans for indices, found in self.batches(texts) for index, spans in zip(indices, found, strict=True)}
        return [known[index] for index in range(len(texts))]

    def batches(self, texts: Sequence[str], until: float = inf) -> Iterator[tuple[Sequence[int], Found]]:
        """The findings in the segments with these indices, as soon as they are known; in any order.

        until: seconds of `time.monotonic`; what has been begun by then is still waited for. Raises ModelsLate when there was more
        to begin, DetectionTimeout, and ModelUnusable. To be run to its end, or closed.
        """
        if not texts:
            return
        if not self._callers.acquire(blocking=False):
            raise DetectionTimeout(f"{WAITING} texts are waiting for a model")
        try:
            yield from self._batches(texts, until)
        finally:
            self._callers.release()

    def close(self) -> None:
        """Ends the processes."""
        self._finalizer()

    def _batches(self, texts: Sequence[str], until: float) -> Iterator[tuple[Sequence[int], Found]]:
        lengths = sizes(texts)
        left, short = list(reversed(cut(lengths))), sum(lengths) <= SHORT
        busy: dict[Worker, Sequence[int]] = {}
        try:
            while left or busy:
                late = monotonic() > until
                if late and not busy:
                    raise ModelsLate
                if left and not late and (worker := self._free(until, wait=not busy, short=short)) is not None:
                    busy[worker] = left.pop()
                    worker.ask([texts[index] for index in busy[worker]])
                else:
                    yield from self._answers(busy)
        finally:
            for worker in busy:
                self._replace(worker)

    def _answers(self, busy: dict[Worker, Sequence[int]]) -> Iterator[tuple[Sequence[int], Found]]:
        """Those that come first, at least one. Raises DetectionTimeout."""
        deadline = monotonic() + self._seconds
        for worker in (ready(busy, self._seconds) if len(busy) > 1 else ()) or list(busy):
            found = worker.answer(deadline)
            indices = busy.pop(worker)
            self._return(worker)
            yield indices, found

    def _free(self, until: float, *, wait: bool, short: bool) -> Worker | None:
        """A worker; None where none is to spare and `wait` is off. Raises ModelsLate, ModelUnusable, DetectionTimeout."""
        if not (wait or self._desk.spare(short=short)):
            return None
        try:
            return self._taken(min(until, monotonic() + self._seconds) if wait else monotonic(), short=short)
        except NoneFree:
            if not wait:
                return None
            if monotonic() > until:
                raise ModelsLate from None
            raise DetectionTimeout("no model's process was free in time") from None

    def _taken(self, until: float, *, short: bool) -> Worker:
        """An idle worker, started if need be. Raises NoneFree, ModelUnusable, DetectionTimeout."""
        seat = self._desk.take(until, short=short)
        if seat.worker is not None:
            return seat.worker
        worker = self._started(seat)
        self._alive.add(worker)
        try:
            loaded = worker.loaded(monotonic() + START_S)
            if loaded.problem is not None:
                raise ModelUnusable(loaded.problem)
        except BaseException:
            self._replace(worker)
            raise
        self._entities = loaded.entities
        return worker

    def _started(self, seat: Seat) -> Worker:
        """Raises ModelUnusable where the system has no process to give; the next one who takes the seat tries again."""
        try:
            return Worker(self._models, background=seat.background)
        except OSError as error:
            self._desk.put(seat)
            raise ModelUnusable(f"no process can be started: {error.strerror}") from None

    def _return(self, worker: Worker) -> None:
        self._desk.put(Seat(worker, worker.background))

    def _replace(self, worker: Worker) -> None:
        self._alive.discard(worker)
        worker.end()
        self._desk.put(Seat(None, worker.background))


@lru_cache(maxsize=4)
def pool_for(models: tuple[Model, ...], processes: int) -> ModelPool:
    """Shared by policy revisions: processes take a second to start."""
    return ModelPool(models, processes)


def _end_all(workers: set[Worker]) -> None:
    while workers:
        workers.pop().end()
