"""Which gates open in the windows of a text, looked up for many windows at a time where there is little to be found."""

from headrace.filters.pii.gate import Gate

QUIET = 8
"""Windows in a row in which nothing opens before the gate is asked about more than one. With fewer, text with a number in every
third window, as prose may have it, is scanned twice."""
LEAST, MOST = 1024, 64 * 1024
"""Characters that are asked about at once; four times as many each time."""


class Lookout:
    """One text's. What opens no gate in a stretch of text opens none in any window of it."""

    def __init__(self, gate: Gate, text: str) -> None:
        self._gate = gate
        self._text = text
        self._clear = 0
        """Up to here nothing opens a gate, from the start of the window that was asked for last."""
        self._quiet = 0
        self._reach = LEAST

    def open(self, start: int, end: int) -> frozenset[str]:
        """The keys whose gates open in `text[start:end]`; windows come in the order of their starts."""
        if end <= self._clear:
            return _NOTHING
        if self._quiet >= QUIET:
            self._look_ahead(start)
            if end <= self._clear:
                return _NOTHING
        opened = self._gate.open(self._text[start:end])
        self._quiet = 0 if opened else self._quiet + 1
        return opened

    def _look_ahead(self, start: int) -> None:
        ahead = start + self._reach
        if self._gate.is_shut(self._text[start:ahead]):
            self._clear = ahead
            self._reach = min(4 * self._reach, MOST)
        else:
            self._quiet = 0
            self._reach = LEAST


_NOTHING: frozenset[str] = frozenset()
