"""How many tokens a streamed answer had, by its size: for one that ended without usage and that nobody here has read.

A model server wraps every few tokens in an event of its own, so the bytes of a stream tell its tokens once other streams of the
same model, on the same upstream, have told their usage.
"""

from math import ceil
from typing import Final, NamedTuple

SEEN: Final = 4
"""Streams with usage before the size of one without says anything."""
KEPT: Final = 0.95
"""Of what was learned, at each further stream: the last twenty make up two thirds."""
KINDS: Final = 1000
"""Kept at once; catalogues are smaller, and a policy that is reloaded brings other names."""


class Kind(NamedTuple):
    """What makes streams comparable."""

    model: str
    endpoint: str
    upstream: str


class _Learned:
    __slots__ = ("seen", "size", "tokens")

    def __init__(self) -> None:
        self.size = self.tokens = 0.0
        self.seen = 0


class StreamSizes:
    """One worker's; empty when it starts."""

    def __init__(self) -> None:
        self._learned: dict[Kind, _Learned] = {}

    def learn(self, kind: Kind, size: int, tokens: int) -> None:
        """A stream of so many bytes, not 0, ended with its usage."""
        if kind not in self._learned and len(self._learned) >= KINDS:
            self._learned.clear()
        learned = self._learned.setdefault(kind, _Learned())
        learned.size = learned.size * KEPT + size
        learned.tokens = learned.tokens * KEPT + tokens
        learned.seen += 1

    def tokens(self, kind: Kind, size: int) -> int | None:
        """Of a stream of so many bytes, rounded up; None while too little is known."""
        learned = self._learned.get(kind)
        if learned is None or learned.seen < SEEN:
            return None
        return ceil(size * learned.tokens / learned.size)
