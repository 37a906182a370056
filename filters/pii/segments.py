"""Text of an answer that comes in pieces, scrubbed segment by segment: the same however it was cut.

The unit of detection is a segment. It ends after a line feed; after a sentence's end with white space and one more character, so
that `jane.` is not taken for a sentence before `doe@example.com` has come; or after 40 words. A cut after 40 words, or within a run
without any blank, is no natural end: it keeps clear of findings and leaves the last words for the next segment.
"""

import re
from collections.abc import Callable, Sequence

from headrace.filters.pii.memo import MemoDetector
from headrace.filters.pii.scan import Substitute, substituted
from headrace.filters.pii.spans import Span, disjoint

# A full stop between digits may be part of a telephone number, so it ends no sentence before a digit, a bracket or a plus.
_CLOSERS = "\"'”’)]"
_CLOSING = rf"[{re.escape(_CLOSERS)}]*+[^\S\n]++"
_SENTENCE = re.compile(rf"\n|[。！？]|(?<!\d)[.!?]{_CLOSING}(?=\S)|(?<=\d)[.!?]{_CLOSING}(?=[^\s\d(+])")
WORDS = 40
_WORDS = re.compile(rf"\s*+(?:\S++\s++){{{WORDS}}}(?=\S)")
# The longest finding of several words is a telephone number written digit by digit.
KEPT_WORDS = 16
_GIVEN_WORDS = re.compile(rf"\s*+(?:\S++\s++){{{WORDS - KEPT_WORDS}}}")

LONGEST = 4096
"""Characters without an end after which a cut is made in mid-run."""
OVERLAP = 512
"""Characters of such a run that are looked at twice; a finding that is longer is taken to last to the end of the run."""


class Scrubber:
    """A TextFlow that replaces findings. Holds back one segment: 40 words, or `LONGEST` characters."""

    def __init__(self, detector: MemoDetector, substitute: Substitute) -> None:
        self._detector = detector
        self._substitute = substitute
        self._held = ""
        self._searched = 0
        """No sentence ends before this place in what is held."""
        self._swallowing = False

    def feed(self, text: str) -> str:
        self._held += text
        out: list[str] = []
        while (piece := self._segment()) is not None:
            out.append(piece)
        return "".join(out)

    def flush(self) -> str:
        held, self._held = self._unswallowed(), ""
        self._swallowing = False
        return substituted(held, self._spans(held), self._substitute) if held else ""

    @property
    def pending(self) -> bool:
        return bool(self._held) or self._swallowing

    def _segment(self) -> str | None:
        """The next segment, scrubbed, or None while it may go on."""
        self._held = self._unswallowed()
        words = _WORDS.match(self._held, 0, LONGEST) if len(self._held) > 2 * WORDS else None
        end = _SENTENCE.search(self._held, self._searched, words.end() + 1 if words else LONGEST)
        if end is not None and (words is None or end.end() <= words.end()):
            return self._give(end.end(), self._spans(self._held[: end.end()]))
        if words is not None:
            return self._forced(words.end(), _end_of(_GIVEN_WORDS, self._held))
        if len(self._held) >= LONGEST:
            return self._forced(LONGEST, LONGEST - OVERLAP)
        self._searched = max(0, len(self._held.rstrip().rstrip(_CLOSERS)) - 1)
        return None

    def _forced(self, window: int, cut: int) -> str:
        """Gives `held[:cut]`, or less so as not to cut a finding in `held[:window]`, or one finding that begins the segment."""
        spans = self._spans(self._held[:window])
        across = next((span for span in spans if span.start < cut < span.end), None)
        if across is None:
            return self._give(cut, spans)
        if across.start > 0:
            return self._give(across.start, spans)
        self._swallowing = across.end == window
        return self._give(across.end, spans)

    def _give(self, cut: int, spans: Sequence[Span]) -> str:
        given, self._held, self._searched = self._held[:cut], self._held[cut:], 0
        return substituted(given, [span for span in spans if span.end <= cut], self._substitute)

    def _unswallowed(self) -> str:
        """What is held, without the rest of a run that began with an overlong finding."""
        if not self._swallowing:
            return self._held
        blank = re.search(r"\s", self._held)
        if blank is None:
            return ""
        self._swallowing = False
        return self._held[blank.start() :]

    def _spans(self, text: str) -> Sequence[Span]:
        return disjoint(self._detector.detect(text))


def _end_of(pattern: re.Pattern[str], text: str) -> int:
    match = pattern.match(text)
    assert match is not None, "the window has more words than that"
    return match.end()


MAX_JSON = 1024 * 1024
"""Characters of one tool call's arguments; they are searched whole."""


class ArgumentsTooLong(Exception):
    """Arguments of a tool call that nobody can hold back to search."""


class JsonScrubber:
    """A TextFlow for arguments of tool calls: holds them all, because only whole JSON says what its escapes and names mean."""

    def __init__(self, scrub: Callable[[str], str]) -> None:
        self._scrub = scrub
        self._held: list[str] = []
        self._size = 0

    def feed(self, text: str) -> str:
        """Raises ArgumentsTooLong."""
        self._held.append(text)
        self._size += len(text)
        if self._size > MAX_JSON:
            raise ArgumentsTooLong
        return ""

    def flush(self) -> str:
        held = "".join(self._held)
        self._held, self._size = [], 0
        return self._scrub(held) if held else ""

    @property
    def pending(self) -> bool:
        return bool(self._held)
