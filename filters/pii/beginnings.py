"""Words with which no finding begins: a stream gives them out before their segment has ended.

Where a match of a pattern begins in a word and goes on behind it, the word and the blank behind it are the beginning of one, which
`regex` calls a partial match. What is no plain word is not asked about: digits, brackets before a number, anything encoded.
"""

import re
from collections.abc import Iterable, Sequence
from string import ascii_letters
from typing import NamedTuple
from unicodedata import normalize

import regex  # type: ignore[import-untyped]

from headrace.filters.pii.linear import CLASS
from headrace.filters.pii.views import holds_text

LONGEST = 48
"""Characters of a plain word: what is remembered is of one."""
LONGEST_S = 0.002
"""Seconds for one expression: what is linear in RE2 may take `regex` a time that doubles with each letter."""
REMEMBERED = 16_384
"""Words, of some 100 bytes each."""

_NEXT = re.compile(r"(\s*+)(\S++)(\s)")
# A dot or a colon within a word may make it an address.
_OPENING, _WITHIN, _CLOSING = "\"'“‘„‚«‹»›(*_¿¡", "'’-_", "\"'”’“‘»›«‹)*_,.;:!?…"
_NOT_WITHIN = str.maketrans("", "", _WITHIN)
_BULLETS = frozenset("-•–—")
_USUAL_BLANKS = ("", " ", "\n")
"""What stands before a word; a match may begin with it."""
_BLANKS, _FEW_BLANKS = frozenset(" \t\r\n\u00a0\u202f"), 3


def _letters(*ranges: range) -> frozenset[str]:
    """Those that nothing reads as other letters."""
    of = (chr(code) for each in ranges for code in each)
    return frozenset(letter for letter in of if letter.isalpha() and normalize("NFKC", letter) == letter)


BEYOND = _letters(range(0xC0, 0x250), range(0x1E00, 0x1F00), range(0x370, 0x530))
"""Letters of words that are asked about, beyond ASCII: of Latin, Greek and Cyrillic."""
_PLAIN = BEYOND | frozenset(ascii_letters)


class Beginning(NamedTuple):
    """An expression in the syntax of `regex`, with its flags: one matches from where a finding begins, or what it hangs on.

    ascii_only: it says nothing of words with letters beyond ASCII, nor of such blanks.
    """

    expression: str
    flags: int
    ascii_only: bool = False


class Beginnings:
    """Of some recognizers' findings. Raises regex.error."""

    def __init__(self, expressions: Iterable[Beginning]) -> None:
        of = dict.fromkeys(expressions)
        self._all = [regex.compile(anywhere(each.expression), each.flags) for each in of]
        self._ascii_only = any(each.ascii_only for each in of)
        marks = {*ascii_letters, *_OPENING, *_WITHIN, *_CLOSING, *_BULLETS}
        first = [f"{before}{mark}" for mark in sorted(marks) for before in (*_USUAL_BLANKS, "a")]
        self._usual = [each for each in self._all if any(_begins_in(each, mark, "") for mark in first)]
        """Those of which a match begins with a letter or a mark of prose."""
        self._known: dict[tuple[str, str, str], bool] = {}

    def clear(self, text: str, start: int) -> tuple[int, bool]:
        """Up to where no finding begins in `text`, from `start` on; and whether one may begin behind that.

        start: of the text, or a word's end. Where none may begin, more of the text may clear more.
        """
        while word := _NEXT.match(text, start):
            if self._may_begin(word[1], word[2], word[3]):
                return start, True
            start = word.end(2)
        return start, False

    def _may_begin(self, before: str, word: str, behind: str) -> bool:
        """before, behind: the blanks around a word."""
        known = self._known.get((before, word, behind))
        if known is not None:
            return known
        blanks = before + behind
        if len(blanks) > _FEW_BLANKS or not _BLANKS.issuperset(blanks) or not _is_plain(word):
            return True
        if len(self._known) >= REMEMBERED:
            self._known.clear()
        found = self._asked(before, word, behind)
        self._known[before, word, behind] = found
        return found

    def _asked(self, before: str, word: str, behind: str) -> bool:
        beyond = not BEYOND.isdisjoint(word) or not (before + behind).isascii()
        if beyond and self._ascii_only:
            return True
        asked = self._usual if before in _USUAL_BLANKS and not beyond else self._all
        return any(_begins_in(each, before + word, behind) for each in asked)


_TOKEN = re.compile(rf"(?P<place>\\[AbBzZ]|[\^$])|(?P<around>\(\?<?[=!])|(?P<open>\()|(?P<close>\))|\\.|{CLASS}|.", re.DOTALL)


def anywhere(pattern: str) -> str:
    """The pattern without what it asks of the text around a match, which is not known yet: it matches wherever the pattern does."""
    kept: list[str] = []
    depth, around = 0, 0
    for token in _TOKEN.finditer(pattern):
        opens = token.lastgroup in ("open", "around")
        depth += opens
        if token.lastgroup == "around" and not around:
            around = depth
        if not around and token.lastgroup != "place":
            kept.append(token[0])
        if token.lastgroup == "close":
            around = 0 if around == depth else around
            depth -= 1
    return "".join(kept)


def _is_plain(word: str) -> bool:
    """Whether it consists of letters and marks of prose, and is no text in base64."""
    if len(word) > LONGEST:
        return False
    core = word.lstrip(_OPENING).rstrip(_CLOSING)
    if not core or core in _BULLETS:
        return "(" not in word  # a number's
    letters = core.translate(_NOT_WITHIN)
    return letters.isalpha() and (letters.isascii() or _PLAIN.issuperset(letters)) and not holds_text(word)


def _begins_in(expression: "regex.Pattern[str]", text: str, behind: str) -> bool:
    """Whether a match may begin in `text`. One that begins with the blank behind it is the next word's."""
    try:
        match = expression.search(text + behind, partial=True, timeout=LONGEST_S)
    except TimeoutError:
        return True
    return match is not None and (match.start() < len(text) or not match.partial)  # a whole one hides one that goes on


def of(sources: Iterable[Sequence[Beginning] | None]) -> Beginnings | None:
    """None where nothing is known of one of the recognizers, or its expressions are none of `regex`."""
    found: list[Beginning] = []
    for each in sources:
        if each is None:
            return None
        found += each
    try:
        return Beginnings(found)
    except regex.error:
        return None
