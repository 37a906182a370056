"""Text of an answer that comes in pieces, scrubbed segment by segment: the same however it was cut."""

from collections.abc import Callable, Iterable, Sequence

from headrace.filters.pii.actions import Step, Substitute, nothing
from headrace.filters.pii.cutter import Cutter, Segment, searching
from headrace.filters.pii.moves import Moves
from headrace.filters.pii.rewriting import substituted
from headrace.filters.pii.scan import Searcher
from headrace.filters.pii.spans import Span


class Scrubber:
    """A TextFlow that replaces findings. Holds back one segment, as long as the detector's are; of that, the words before the first
    with which a finding may begin are given out, where the detector knows them.

    Where a finding stops the answer, nothing of its segment is given out, however the text is cut. step: called for each segment.
    """

    def __init__(self, searcher: Searcher, substitute: Substitute, step: Step = nothing) -> None:
        def search(segment: str) -> Sequence[Span]:
            step()
            return searcher.detector.segment(segment)

        self._cutter = Cutter(searching(search), searcher.detector.size)
        self._apart = searcher.treatment.apart
        self._substitute = substitute
        self._beginnings = None if searcher.treatment.blocks else searcher.detector.beginnings
        self._given = 0
        """Characters of the segment that is held which have been given out."""
        self._may_begin = False
        """Whether a finding may begin behind them."""
        self._at = 0
        """Where in the whole text the next segment begins."""
        self._moves = Moves()

    def feed(self, text: str) -> str:
        return self._scrubbed(self._cutter.feed(text)) + self._ahead()

    def flush(self) -> str:
        return self._scrubbed(self._cutter.flush())

    def whole(self, text: str) -> str:
        return self._scrubbed(self._cutter.whole(text))

    @property
    def pending(self) -> bool:
        return self._cutter.pending

    def _scrubbed(self, segments: Iterable[Segment]) -> str:
        return "".join(map(self._rest, segments))

    def _rest(self, segment: Segment) -> str:
        """What is left of a segment that has ended."""
        text, given = segment.text, min(self._given, len(segment.text))
        self._given -= given
        self._may_begin = False
        start, self._at = self._at, self._at + len(text)
        return substituted(text, self._apart(segment.spans), self._substitute, self._moves, start)[given:]

    def moved(self, position: int) -> int | None:
        return self._moves.of(position) if position <= self._at + self._given else None

    def _ahead(self) -> str:
        if self._beginnings is None or self._may_begin:
            return ""
        held, before = self._cutter.held, self._given
        self._given, self._may_begin = self._beginnings.clear(held, before)
        return held[before : self._given]


MAX_JSON = 1024 * 1024
"""Characters of one tool call's arguments; they are searched whole."""


class ArgumentsTooLong(Exception):
    """Arguments of a tool call that nobody can hold back to search."""


class JsonScrubber:
    """A TextFlow for arguments of tool calls: holds them all, because only whole JSON says what its escapes and names mean."""

    def __init__(self, scrub: Callable[[str], str], hold: Callable[[int], object]) -> None:
        """hold: told how many characters more are held; less, where it is negative."""
        self._scrub = scrub
        self._hold = hold
        self._held: list[str] = []
        self._size = 0

    def feed(self, text: str) -> str:
        """Raises ArgumentsTooLong."""
        self._held.append(text)
        self._size += len(text)
        self._hold(len(text))
        if self._size > MAX_JSON:
            raise ArgumentsTooLong
        return ""

    def whole(self, text: str) -> str:
        """Raises ArgumentsTooLong."""
        return self.feed(text) + self.flush()

    def flush(self) -> str:
        held = "".join(self._held)
        self._hold(-self._size)
        self._held, self._size = [], 0
        return self._scrub(held) if held else ""

    def moved(self, position: int) -> int:
        return position

    @property
    def pending(self) -> bool:
        return bool(self._held)
