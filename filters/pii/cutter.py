"""Text cut into segments, the unit of detection: the same segments however the text comes in.

A segment has at least 12 words, or 120 characters, so that the lines of an address and short sentences stand together. It ends
with the next line feed; with the next sentence's end, white space and one more character, so that `jane.` is not taken for a
sentence before `doe@example.com` has come; or after 40 words. A cut after 40 words, or within a run without any blank, is no
natural end: it keeps clear of findings and leaves the last words for the next segment. A key in PEM is not cut. Where segments are
to be shorter, all three numbers are less in the same ratio.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from headrace.filters.pii.spans import Span, disjoint

# A full stop between digits may be part of a telephone number, so it ends no sentence before a digit, a bracket or a plus.
_CLOSERS = "\"'”’)]"
_CLOSING = rf"[{re.escape(_CLOSERS)}]*+[^\S\n]++"
# Begins with one class of characters, which the engine looks for ten times as fast as for alternatives.
_SENTENCE = re.compile(
    rf"[\n。！？.!?](?:(?<=[\n。！？])|(?<=\d[.!?]){_CLOSING}(?=[^\s\d(+])|(?<=[.!?])(?<!\d[.!?]){_CLOSING}(?=\S))"
)
_BLANK = re.compile(r"\s")
LEAST_WORDS = 12
LEAST_CHARACTERS = 120
WORDS = 40
# The longest finding of several words is a telephone number written digit by digit.
KEPT_WORDS = 16
FEWEST_WORDS = KEPT_WORDS + 4
"""Of a segment at its longest: a cut that is no natural end leaves `KEPT_WORDS` of them to be searched again."""

LONGEST = 4096
"""Characters without an end after which a cut is made in mid-run."""
OVERLAP = 512
"""Characters of such a run that are looked at twice; a finding that is longer is taken to last to the end of the run."""

# The lines of a key in PEM stand together: none of them alone looks like one.
_KEY_BEGIN, _KEY_CLOSE = "-----BEGIN ", "-----END "
_KEY_END = re.compile(r"-----END [^\n]{0,64}\n")

Search = Callable[[str, int, int], Sequence[Span]]
"""Takes a text, and where a window in it begins and ends; gives what is found in the window, by place in the window."""


def searching(segment: Callable[[str], Sequence[Span]]) -> Search:
    """A search of windows by themselves."""
    return lambda text, start, end: segment(text[start:end])


class Segment(NamedTuple):
    """A piece of text with its findings, as they were found. lasting: the last of them goes on to the end of its run."""

    text: str
    spans: Sequence[Span]
    lasting: bool = False


class Size:
    """How long segments are. words: at most.

    least: matches to one character into the last word that the shortest segment has.
    longest: matches a segment at its longest, to the word behind it; its group `given`, which is empty, stands where one ends that
    is cut at its longest.
    """

    def __init__(self, words: int = WORDS) -> None:
        self.words = words
        self.least_characters = LEAST_CHARACTERS * words // WORDS
        before, given = max(1, LEAST_WORDS * words // WORDS) - 1, words - KEPT_WORDS
        self.least = re.compile(rf"\s*+{_words(before)}\S")
        self.longest = re.compile(rf"\s*+{_words(given)}(?P<given>){_words(words - given)}(?=\S)")

    def holds(self, text: str, start: int, end: int) -> bool:
        """Whether `text[start:end]` has no more words than a segment may have."""
        return len(text[start:end].split(None, self.words)) <= self.words


def _words(count: int) -> str:
    return rf"(?:\S++\s++){{{count}}}"


USUAL = Size()


class Cutter:
    """Holds back one segment: as many words as `size` says, or `LONGEST` characters.

    search: findings may overlap; windows come in the order of their starts.
    """

    def __init__(self, search: Search, size: Size = USUAL) -> None:
        self._search = search
        self._size = size
        self._held = ""
        self._at = 0
        """Where the segment begins in what is held; one character before it is kept, for the pattern of a sentence's end."""
        self._searched = 0
        """No sentence that could end the segment does before this place: none between where the shortest one may end and here."""
        self._swallowing = False

    @property
    def pending(self) -> bool:
        return self._at < len(self._held) or self._swallowing

    @property
    def held(self) -> str:
        """The segment that has not ended yet."""
        return self._held[self._at :] if not self._swallowing else ""

    def feed(self, text: str) -> Iterator[Segment]:
        """The segments that `text` completes. What lasts to the end of a run is no part of any segment."""
        self._held += text
        while (segment := self._segment()) is not None:
            yield segment
        kept = max(0, self._at - 1)
        self._held, self._at, self._searched = self._held[kept:], self._at - kept, max(0, self._searched - kept)

    def flush(self) -> Iterator[Segment]:
        """The rest of the text."""
        self._swallow()
        rest = Segment(self._held[self._at :], self._found(self._at, len(self._held))) if self._at < len(self._held) else None
        self._held, self._at, self._searched, self._swallowing = "", 0, 0, False
        if rest is not None:
            yield rest

    def whole(self, text: str) -> Iterator[Segment]:
        """The segments of a text that is all there is."""
        self._held = text
        while (segment := self._segment()) is not None:
            yield segment
        yield from self.flush()

    def _segment(self) -> Segment | None:
        """The next segment, or None while it may go on."""
        if self._swallowing:
            self._swallow()
        at, held, size = self._at, self._held, self._size
        end = self._natural_end()
        if end is not None:
            return self._key(end) if _is_open_key(held, at, end) else self._give(end, self._found(at, end))
        words = size.longest.match(held, at, at + LONGEST) if len(held) - at > 2 * size.words else None
        if words is not None:
            stop = words.end()
            return self._key(stop) if _is_open_key(held, at, stop) else self._forced(stop, words.start("given"))
        if len(held) - at >= LONGEST:
            return self._forced(at + LONGEST, at + LONGEST - OVERLAP)
        return None

    def _natural_end(self) -> int | None:
        """Where the segment ends by itself, if it does before it is at its longest."""
        at, held, size, first = self._at, self._held, self._size, self._searched
        if first < at + size.least_characters:
            least = _least(held, at, size)
            if least is None:
                return None
            first = max(least, first)
        sentence = _SENTENCE.search(held, first, at + LONGEST)
        if sentence is None:  # what looks like nothing may be the beginning of one
            self._searched = max(first, at + len(held[at : at + LONGEST].rstrip().rstrip(_CLOSERS)) - 1)
            return None
        self._searched = sentence.start()
        end = sentence.end()
        return end if end - at <= 2 * size.words or size.holds(held, at, end) else None

    def _key(self, stop: int) -> Segment | None:
        """A segment in which a key in PEM begins before `stop`, to the key's end."""
        at, held = self._at, self._held
        close = _KEY_END.search(held, stop, at + LONGEST)
        if close is not None:
            return self._give(close.end(), self._found(at, close.end()))
        return self._forced(at + LONGEST, at + LONGEST - OVERLAP) if len(held) - at >= LONGEST else None

    def _found(self, start: int, end: int) -> Sequence[Span]:
        return self._search(self._held, start, end)

    def _forced(self, end: int, cut: int) -> Segment:
        """Cuts at `cut`, or before so as not to cut a finding in the window to `end`, or behind one that begins the segment."""
        at = self._at
        spans = self._found(at, end)
        across = next((span for span in disjoint(spans) if span.start < cut - at < span.end), None) if spans else None
        if across is None:
            return self._give(cut, spans)
        if across.start > 0:
            return self._give(at + across.start, spans)
        self._swallowing = at + across.end == end
        return self._give(at + across.end, spans)

    def _give(self, cut: int, spans: Sequence[Span]) -> Segment:
        text = self._held[self._at : cut]
        self._at = cut
        self._searched = max(cut, self._searched)
        return Segment(text, [span for span in spans if span.end <= len(text)] if spans else (), self._swallowing)

    def _swallow(self) -> None:
        """Passes over the rest of a run that began with an overlong finding."""
        if self._swallowing:
            blank = _BLANK.search(self._held, self._at)
            self._at = self._searched = blank.start() if blank else len(self._held)
            self._swallowing = blank is None


def _is_open_key(text: str, start: int, end: int) -> bool:
    """Whether a key in PEM begins in `text[start:end]` and goes on behind it."""
    begin = text.rfind(_KEY_BEGIN, start, end)
    return begin >= 0 and begin > text.rfind(_KEY_CLOSE, start, end)


def _least(text: str, at: int, size: Size) -> int | None:
    """Where the shortest segment that begins at `at` may end, or None while that is not known."""
    if words := size.least.match(text, at, at + size.least_characters):
        return words.end() - 1
    return at + size.least_characters if len(text) - at >= size.least_characters else None


def findings(text: str, search: Search, size: Size = USUAL, last: int | None = None) -> Iterator[Span]:
    """What is found in the segments of a text that is whole, at its places in the text.

    last: nothing is found in what begins there or behind it, which is not cut then.
    """
    start, behind = 0, len(text) if last is None else last
    segments = Cutter(search, size).whole(text)
    while start < behind and (segment := next(segments, None)) is not None:
        end = start + len(segment.text)
        stop = _end_of_run(text, end) if segment.lasting else end
        for span in segment.spans:
            yield Span(start + span.start, stop if span.end == len(segment.text) else start + span.end, span.entity, span.score)
        start = stop


def _end_of_run(text: str, start: int) -> int:
    blank = _BLANK.search(text, start)
    return blank.start() if blank else len(text)


def windows(text: str, size: Size = USUAL, step: Callable[[], object] = lambda: None) -> Sequence[str]:
    """The windows that `findings` searches where it finds nothing: most of those it searches in any case.

    step: called before each; what it raises is raised.
    """
    seen: list[str] = []

    def search(text: str, start: int, end: int) -> Sequence[Span]:
        step()
        seen.append(text[start:end])
        return ()

    for _ in findings(text, search, size):
        pass
    return seen
