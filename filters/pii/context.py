"""Words before a finding that make it more likely: Presidio's rule, in one pass over the words of a segment.

Presidio raises the score of a finding by 0.35, to 0.4 at least, where one of the five words before it, or the one it stands in,
contains a context word of its recognizer. It takes words from a language model; here a word is a run of letters and digits, and
those of fewer than three are passed over.

What stands in JSON has the names of its members before it, as in Presidio's `analyze_dict`; but a context word of up to three
letters must be a word of a name (`us` is none of `customer_id`), and names are as far from a finding as other words before it.
"""

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence

from headrace.filters.pii.spans import Span

RAISE = 0.35
LEAST = 0.4
WORDS_BEFORE = 5
LEAST_LETTERS = 3
_WORD = re.compile(r"\w+")
# A name's words: customer_id, customerId, CUSTOMER-ID, HTTPProxy, staffSSNs.
_WORD_OF_NAME = re.compile(r"[^\W\d_A-Z]+|[A-Z]+s?(?![^\W\d_A-Z])|[A-Z][^\W\d_A-Z]*")
_LONG = 4


def raised(score: float) -> float:
    """What a finding with this score gets beside a context word."""
    return min(1.0, max(score + RAISE, LEAST))


class Surroundings:
    """The words of one segment, and of the names of the members that hold it; read when they are first needed."""

    def __init__(self, text: str, about: str = "") -> None:
        self._text = text
        self._about = about
        self._names: Sequence[str] | None = None
        self._lower: str | None = None
        self._ends: list[int] | None = None
        self._words: list[str] = []

    def enhanced(self, spans: Iterable[Span], context: Sequence[str]) -> Iterable[Span]:
        """`spans` with the scores that `context`, in lower case, gives them."""
        if not context:
            return spans
        found = list(spans)
        named = bool(found) and self._is_named(context)
        words = self._present(context) if found else ()
        if not (words or named):
            return found
        return [span._replace(score=raised(span.score)) if self._supports(span.start, words, named) else span for span in found]

    def may_support(self, context: Sequence[str]) -> bool:
        """Whether one of these words, in lower case, stands in the segment, or in a name."""
        return self._is_named(context) or bool(self._present(context))

    def _is_named(self, context: Sequence[str]) -> bool:
        if not self._about:
            return False
        if self._names is None:
            self._names = [word.lower() for word in _WORD_OF_NAME.findall(self._about)]
        return any(word in name if len(word) >= _LONG else word == name for name in self._names for word in context)

    def _present(self, context: Sequence[str]) -> Sequence[str]:
        """Without those that stand nowhere in the segment. Beyond ASCII a small letter may depend on the word it stands in."""
        if not self._text.isascii():
            return context
        if self._lower is None:
            self._lower = self._text.lower()
        return [word for word in context if word in self._lower]

    def _supports(self, start: int, context: Sequence[str], named: bool) -> bool:
        near = list(self._near(start))
        return (named and len(near) <= WORDS_BEFORE) or any(word in each for each in near for word in context)

    def _near(self, start: int) -> Iterator[str]:
        """The word at `start`, or the one behind it, and those before; from there backwards."""
        if self._ends is None:
            found = list(_WORD.finditer(self._text))
            self._ends = [word.end() for word in found]
            self._words = [word[0].lower() for word in found]
        left = WORDS_BEFORE + 1
        for word in reversed(self._words[: bisect_right(self._ends, start) + 1]):
            if len(word) >= LEAST_LETTERS:
                yield word
                left -= 1
                if left == 0:
                    return
