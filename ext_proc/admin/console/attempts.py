"""How often somebody may try to log in. A token cannot be guessed; what is bounded is what trying costs the store."""

from collections import OrderedDict, deque
from collections.abc import Sequence
from datetime import datetime, timedelta

WITHIN = timedelta(minutes=1)
OF_ONE = 10
"""Failures of one address within a minute; a person who pastes the wrong thing has three or four."""
OF_ALL = 200
ADDRESSES = 10_000
"""Addresses remembered; the one that failed longest ago goes first."""


class Attempts:
    """Failures of late, by address."""

    def __init__(self) -> None:
        self._of: OrderedDict[str, deque[datetime]] = OrderedDict()
        self._all: deque[datetime] = deque(maxlen=OF_ALL)

    def wait_s(self, address: str, now: datetime) -> int:
        """Seconds until the address may try; 0: it may now."""
        own: Sequence[datetime] = self._of.get(address, ())
        return max(_wait_s(own, OF_ONE, now), _wait_s(self._all, OF_ALL, now))

    def failed(self, address: str, now: datetime) -> None:
        self._of.setdefault(address, deque(maxlen=OF_ONE)).append(now)
        self._of.move_to_end(address)
        self._all.append(now)
        while len(self._of) > ADDRESSES:
            self._of.popitem(last=False)


def _wait_s(failures: Sequence[datetime], most: int, now: datetime) -> int:
    """Until the oldest of `most` failures is WITHIN ago."""
    if len(failures) < most or now - failures[0] >= WITHIN:
        return 0
    return max(1, -(-(failures[0] + WITHIN - now) // timedelta(seconds=1)))
