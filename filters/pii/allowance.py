"""How long a search may take, and what happens when that is not enough."""

from dataclasses import dataclass
from math import inf
from time import monotonic

from headrace.filters.pii.spans import DetectionTimeout


class SearchLate(DetectionTimeout):
    """The patterns were not through with a text in time."""


class ModelsLate(DetectionTimeout):
    """The models had not read everything in time. What they did read is remembered, so that the next search goes on from there."""


@dataclass(slots=True)
class Allowance:
    """One search's. until: no segment is begun after it; models_until: no model is asked after it; seconds of `time.monotonic`.

    lenient: what models have not read by then is searched by patterns alone, and counted in `unnamed` (characters); else the
    search fails.
    """

    until: float = inf
    models_until: float = inf
    lenient: bool = False
    unnamed: int = 0

    def check(self) -> None:
        """Raises SearchLate."""
        if monotonic() > self.until:
            raise SearchLate

    def unread(self, characters: int) -> None:
        """Models leave so much unread. Raises ModelsLate where that may not be."""
        if not self.lenient:
            raise ModelsLate
        self.unnamed += characters


def unlimited() -> Allowance:
    """Where nobody waits for the end."""
    return Allowance()
