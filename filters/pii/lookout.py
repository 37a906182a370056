"""Which gates open in the windows of a text: looked up for all of them at once, where there is little to be found."""

from bisect import bisect_right
from sys import maxsize

from headrace.filters.pii.gate import Gate, Places


class Lookout:
    """One text's. What opens a gate in a window opens it in the text, and ends in the window.

    places: as `gate` tells of the text. last: behind it nothing opens a gate.
    """

    def __init__(self, gate: Gate, text: str, places: Places | None) -> None:
        self._gate = gate
        self._text = text
        self.last = len(text) if places is None else places[-1][0] if places else 0
        self._is_known = places is not None
        self._ends = [*(end for end, _ in places or ()), maxsize]
        self._keys = [key for _, key in places or ()]
        self._next = 0
        """The first place that may lie in a window to come."""

    def open(self, start: int, end: int) -> frozenset[str]:
        """The keys whose gates open in `text[start:end]`; windows come in the order of their starts."""
        if not self._is_known:
            return self._gate.open(self._text[start:end])
        ends, first = self._ends, self._next
        while ends[first] <= start:
            first += 1
        self._next = first
        return _NOTHING if ends[first] > end else frozenset(self._keys[first : bisect_right(ends, end, first)])


_NOTHING: frozenset[str] = frozenset()
