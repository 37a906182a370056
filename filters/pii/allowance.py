"""How long a search may take, and what happens when that is not enough."""

from dataclasses import dataclass, field
from math import inf
from time import monotonic, sleep

from headrace.filters.pii.spans import DetectionTimeout


class SearchLate(DetectionTimeout):
    """The patterns were not through with a text in time."""


class ModelsLate(DetectionTimeout):
    """The models had not read everything in time. What they did read is remembered, so that the next search goes on from there."""


COURTESY_S = 1e-3
"""Seconds without a stop: as long as two segments of dense personal data take. A stop costs some 0.1 ms of processor time."""
# Python gives its lock to another thread after 5 ms otherwise; the kernel makes some 60 µs of this.
PAUSE_S = 1e-6


@dataclass(slots=True)
class Allowance:
    """One search's. until: no segment is begun after it; models_until: no model is asked after it; seconds of `time.monotonic`.

    courteous: whether other threads are let in; the event loop's own has nobody to let in.

    lenient: what models have not read by then is searched by patterns alone, and counted in `unnamed` (characters); else the
    search fails.
    """

    until: float = inf
    models_until: float = inf
    lenient: bool = False
    courteous: bool = True
    unnamed: int = 0
    _paused: float = field(default_factory=monotonic)

    def step(self) -> None:
        """Before each text and each segment: lets other threads in, such as an event loop that answers short texts.

        Raises SearchLate.
        """
        now = monotonic()
        if now > self.until:
            raise SearchLate
        if self.courteous and now - self._paused > COURTESY_S:
            sleep(PAUSE_S)
            self._paused = monotonic()

    def end(self) -> None:
        """Nobody waits for the search any longer: what is left of it, in whatever thread, is given up at its next step."""
        self.until = self.models_until = -inf

    def waited(self) -> None:
        """After waiting for another process: other threads were let in meanwhile."""
        self._paused = monotonic()

    def unread(self, characters: int) -> None:
        """Models leave so much unread. Raises ModelsLate where that may not be."""
        if not self.lenient:
            raise ModelsLate
        self.unnamed += characters


def unlimited() -> Allowance:
    """Where nobody waits for the end."""
    return Allowance()
