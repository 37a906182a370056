"""Models in worker processes: a model computes for milliseconds and holds Python's lock, so threads would not help it.

Whoever asks waits, so no event loop may: `find` is called in a thread. One batch is a few segments, so that a long text does not
keep a worker from a short one for long. What waits too long, and what more callers than `WAITING` want, is refused: the filter then
fails as its policy says.
"""

import contextlib
import queue
import re
import select
import subprocess
import sys
import threading
import weakref
from collections.abc import Sequence
from functools import lru_cache
from time import monotonic
from typing import BinaryIO, cast

import msgspec

from headrace.filters.pii.models.frames import Loaded, read_frame, write_frame
from headrace.filters.pii.models.names import Model
from headrace.filters.pii.spans import DetectionTimeout, Span

BATCH = 8
"""Segments a worker is asked for at once: some 20 ms."""
WAITING = 64
"""Callers at once; each holds its text."""
WORKERS = 2
"""Processes of one service worker. Each takes some 140 MB with Rampart, 240 MB with spaCy's small model as well."""
START_S = 60.0
"""To import a runtime and load a model, on a machine that does other things as well."""
_SURROGATES = re.compile("[\ud800-\udfff]")


class ModelUnusable(Exception):
    """A model that cannot be loaded; the message says why."""


class _Worker:
    """One process. Used by one thread at a time."""

    def __init__(self, models: Sequence[Model]) -> None:
        command = (sys.executable, "-m", "headrace.filters.pii.models.worker")
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._asks, self._answers = cast(BinaryIO, self._process.stdin), cast(BinaryIO, self._process.stdout)
        self._send(msgspec.msgpack.encode(models))

    def loaded(self, deadline: float) -> Loaded:
        """Raises DetectionTimeout."""
        return msgspec.msgpack.decode(self._receive(deadline), type=Loaded)

    def ask(self, texts: Sequence[str]) -> None:
        self._send(msgspec.msgpack.encode([_SURROGATES.sub("?", text) for text in texts]))

    def answer(self, deadline: float) -> Sequence[tuple[Span, ...]]:
        """Raises DetectionTimeout."""
        found = msgspec.msgpack.decode(self._receive(deadline), type=list[list[tuple[int, int, str, float]]])
        return [tuple(Span(*each) for each in spans) for spans in found]

    def fileno(self) -> int:
        return self._answers.fileno()

    def end(self) -> None:
        """Kills it: it has nothing to finish."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._asks, self._answers):
            with contextlib.suppress(OSError):
                pipe.close()

    def _send(self, data: bytes) -> None:
        with contextlib.suppress(OSError):  # a worker that died is found out when it does not answer
            write_frame(self._asks, data)

    def _receive(self, deadline: float) -> bytes:
        ready, _, _ = select.select([self._answers], [], [], max(0.0, deadline - monotonic()))
        frame = read_frame(self._answers) if ready else None
        if frame is None:
            raise DetectionTimeout("a model's process did not answer in time" if not ready else "a model's process died")
        return frame


class ModelPool:
    """`workers` processes with the same models. seconds: what a caller may wait; a worker that needs longer is replaced."""

    def __init__(self, models: Sequence[Model], workers: int = 1, seconds: float = 30.0) -> None:
        self._models = tuple(models)
        self._seconds = seconds
        self._callers = threading.Semaphore(WAITING)
        self._workers = workers
        self._idle: queue.LifoQueue[_Worker | None] = queue.LifoQueue()
        """None stands for a worker that has to be started: the last resort."""
        for _ in range(workers):
            self._idle.put(None)
        self._alive: set[_Worker] = set()
        self._entities: Sequence[str] | None = None
        self._finalizer = weakref.finalize(self, _end_all, self._alive)

    @property
    def entities(self) -> Sequence[str]:
        """Presidio's names of what the models find; loads them, the first time. Raises ModelUnusable, DetectionTimeout."""
        if self._entities is None:
            self._idle.put(self._taken(monotonic() + START_S))
        assert self._entities is not None
        return self._entities

    def load(self) -> None:
        """Starts every worker: a text that came first would wait a second for it. Raises ModelUnusable, DetectionTimeout."""
        taken: list[_Worker] = []
        try:
            while len(taken) < self._workers:
                taken.append(self._taken(monotonic()))
        except queue.Empty:
            return  # the others are at work
        finally:
            for worker in taken:
                self._idle.put(worker)

    def find(self, texts: Sequence[str]) -> Sequence[tuple[Span, ...]]:
        """The findings in each segment. Raises DetectionTimeout, ModelUnusable."""
        if not texts:
            return []
        if not self._callers.acquire(blocking=False):
            raise DetectionTimeout(f"{WAITING} texts are waiting for a model")
        try:
            return self._found(texts)
        finally:
            self._callers.release()

    def close(self) -> None:
        """Ends the processes."""
        self._finalizer()

    def _found(self, texts: Sequence[str]) -> Sequence[tuple[Span, ...]]:
        deadline = monotonic() + self._seconds
        found: dict[int, Sequence[tuple[Span, ...]]] = {}
        starts = list(range(0, len(texts), BATCH))[::-1]
        busy: dict[_Worker, int] = {}
        try:
            while starts or busy:
                while starts and (worker := self._free(busy, deadline)) is not None:
                    busy[worker] = starts.pop()
                    worker.ask(texts[busy[worker] : busy[worker] + BATCH])
                ready, _, _ = select.select(list(busy), [], [], max(0.0, deadline - monotonic()))
                for worker in ready or list(busy):
                    found[busy[worker]] = worker.answer(deadline)
                    del busy[worker]
                    self._idle.put(worker)
        finally:
            for worker in busy:
                self._replace(worker)
        return [spans for start in sorted(found) for spans in found[start]]

    def _free(self, busy: dict[_Worker, int], deadline: float) -> _Worker | None:
        """A worker that is idle; None where there is none and others are at work for this caller. Raises DetectionTimeout."""
        if busy and self._idle.empty():
            return None
        try:
            return self._taken(deadline)
        except queue.Empty:
            if busy:
                return None
            raise DetectionTimeout("no model's process was free in time") from None

    def _taken(self, deadline: float) -> _Worker:
        """An idle worker, started if need be. Raises queue.Empty, ModelUnusable, DetectionTimeout."""
        worker = self._idle.get(timeout=max(0.0, deadline - monotonic()))
        if worker is not None:
            return worker
        worker = _Worker(self._models)
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

    def _replace(self, worker: _Worker) -> None:
        self._alive.discard(worker)
        worker.end()
        self._idle.put(None)


@lru_cache(maxsize=4)
def pool_for(models: tuple[Model, ...]) -> ModelPool:
    """Shared by policy revisions: processes take a second to start."""
    return ModelPool(models, WORKERS)


def _end_all(workers: set[_Worker]) -> None:
    while workers:
        workers.pop().end()
