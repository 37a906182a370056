"""Where workers are handed out: in the order in which they were asked for, so that a long text does not keep short ones waiting."""

import threading
from collections import deque
from time import monotonic

from headrace.filters.pii.models.process import Worker


class NoneFree(Exception):
    """Every worker was at work until the time was over."""


class Desk:
    """The idle workers. None among them stands for one that has to be started: the last resort."""

    def __init__(self, workers: int) -> None:
        self._idle: list[Worker | None] = [None] * workers
        self._waiting: deque[object] = deque()
        self._changed = threading.Condition()

    def put(self, worker: Worker | None) -> None:
        with self._changed:
            self._idle.insert(0 if worker is None else len(self._idle), worker)
            self._changed.notify_all()

    def spare(self) -> bool:
        """Whether one is idle that nobody waits for."""
        with self._changed:
            return bool(self._idle) and not self._waiting

    def take(self, until: float) -> Worker | None:
        """An idle one, after everybody who asked before. until: seconds of `time.monotonic`. Raises NoneFree."""
        with self._changed:
            me = object()
            self._waiting.append(me)
            try:
                if not self._changed.wait_for(lambda: self._idle and self._waiting[0] is me, max(0.0, until - monotonic())):
                    raise NoneFree
                return self._idle.pop()
            finally:
                self._waiting.remove(me)
                self._changed.notify_all()
