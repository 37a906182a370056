"""Where workers are handed out: in the order in which they were asked for, one of them to short texts only.

A long text keeps its workers busy with one batch after the other. Short texts take as long as they do
alone where one is not.
"""

import threading
from collections import deque
from time import monotonic

from headrace.filters.pii.models.process import Worker


class NoneFree(Exception):
    """Every worker was at work until the time was over."""


class Desk:
    """The idle workers. None among them stands for one that has to be started: the last resort.

    kept: how many long texts leave idle, less than `workers`.
    """

    def __init__(self, workers: int, kept: int = 0) -> None:
        self._idle: list[Worker | None] = [None] * workers
        self._kept = kept
        self._short: deque[object] = deque()
        self._long: deque[object] = deque()
        self._changed = threading.Condition()

    def put(self, worker: Worker | None) -> None:
        with self._changed:
            self._idle.insert(0 if worker is None else len(self._idle), worker)
            self._changed.notify_all()

    def spare(self, *, short: bool) -> bool:
        """Whether one is idle that nobody waits for."""
        with self._changed:
            return self._has_one(short=short) and not (self._short if short else self._long)

    def take(self, until: float, *, short: bool) -> Worker | None:
        """An idle one, after all who asked before for a text of that kind. until: seconds of `time.monotonic`. Raises NoneFree."""
        waiting = self._short if short else self._long
        with self._changed:
            me = object()
            waiting.append(me)
            try:
                left = max(0.0, until - monotonic())
                if not self._changed.wait_for(lambda: self._has_one(short=short) and waiting[0] is me, left):
                    raise NoneFree
                return self._idle.pop()
            finally:
                waiting.remove(me)
                self._changed.notify_all()

    def _has_one(self, *, short: bool) -> bool:
        return len(self._idle) > (0 if short else self._kept)
