"""Where workers are handed out: in the order in which they were asked for, one of them to short texts only.

A long text keeps its workers busy with one batch after the other. Short texts take as long as they do
alone where one is not.
"""

import threading
from collections import deque
from collections.abc import Sequence
from time import monotonic
from typing import NamedTuple

from headrace.filters.pii.models.process import Worker


class NoneFree(Exception):
    """Every worker was at work until the time was over."""


class Seat(NamedTuple):
    """A worker's place. worker: None where one has to be started. background: it is for long texts, if need be for short ones."""

    worker: Worker | None
    background: bool


class Desk:
    """The idle workers. background: how many of `workers` are for long texts; 0 where all are for any."""

    def __init__(self, workers: int, background: int = 0) -> None:
        self._idle = [Seat(None, background=number < background) for number in range(workers)]
        self._divided = background > 0
        self._short: deque[object] = deque()
        self._long: deque[object] = deque()
        self._changed = threading.Condition()

    def put(self, seat: Seat) -> None:
        with self._changed:
            self._idle.append(seat)
            self._changed.notify_all()

    def spare(self, *, short: bool) -> bool:
        """Whether one is idle that nobody waits for."""
        with self._changed:
            return bool(self._fitting(short=short)) and not (self._short if short else self._long)

    def take(self, until: float, *, short: bool) -> Seat:
        """An idle one, after all who asked before for a text of that kind. until: seconds of `time.monotonic`. Raises NoneFree."""
        waiting = self._short if short else self._long
        with self._changed:
            me = object()
            waiting.append(me)
            try:
                left = max(0.0, until - monotonic())
                if not self._changed.wait_for(lambda: bool(self._fitting(short=short)) and waiting[0] is me, left):
                    raise NoneFree
                seat = min(self._fitting(short=short), key=_last_resorts)
                self._idle.remove(seat)
                return seat
            finally:
                waiting.remove(me)
                self._changed.notify_all()

    def _fitting(self, *, short: bool) -> Sequence[Seat]:
        return [seat for seat in self._idle if short or seat.background or not self._divided]


def _last_resorts(seat: Seat) -> tuple[bool, bool]:
    """Last comes one that has to be started, and one in the background after one that is not."""
    return seat.worker is None, seat.background
