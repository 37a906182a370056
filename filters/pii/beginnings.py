"""Words with which no finding begins: a stream gives them out before their segment has ended.

Where a match of a pattern begins in a word and goes on behind it, the word and the blank behind it are the beginning of one, which
`regex` calls a partial match. What is no plain word is not asked about: digits, brackets before a number, anything encoded. Where a
script has no blanks, its marks stand for them.
"""

import contextlib
import re
from collections.abc import Iterable, Sequence
from string import ascii_letters
from typing import NamedTuple, TypeAlias
from unicodedata import category, normalize

import regex  # type: ignore[import-untyped]

from headrace.filters.pii.linear import CLASS
from headrace.filters.pii.views import holds_text

LONGEST = 96
"""Characters of a plain word: what is remembered is of one."""
LONGEST_S = 0.002
"""Seconds for one expression: what is linear in RE2 may take `regex` a time that doubles with each letter."""
_TRIES = 3
"""`regex` counts the time of the whole process: other threads may have used it up."""
REMEMBERED = 16_384
"""Words, of some 200 bytes each."""

# What ends a word as a blank does, and is no part of an address, however it is written.
_ENDS = "“”—–…。、，；「」『』《》〈〉【】・،؛؟।"
_NEXT = re.compile(rf"([\s{_ENDS}]*+)([^\s{_ENDS}]++)([\s{_ENDS}])")
# A dot or a colon within a word may make it an address, but for a wide colon before a letter; %, & and \ what is written otherwise.
_OPENING, _CLOSING = "\"'‘„‚«‹»›*¿¡", "\"'’‘»›«‹*,.;:!?"
_WITHIN = "'’-_()（）[]{}<>！？：/|#=~^$`\ufe0f"
_NOT_WITHIN = str.maketrans("", "", _WITHIN)
_COLON = re.compile(r"：(?![^\W\d_]|$)")
_NUMBER = re.compile(r"[(\[（［][-xX‐-―−ー－-／\s()（）［］.\[\]/~⁓∼～]*$")
"""What a number may begin with whose digits follow: a bracket and marks."""
_BLANKS, _FEW_BLANKS = frozenset(f" \t\r\n\u00a0\u202f\u3000{_ENDS}"), 6
_FOLDED = str.maketrans(
    {
        "，": ",",
        "；": ";",
        "：": ":",
        "！": "!",
        "？": "?",
        "（": "(",
        "）": ")",
        "\ufe0f": "",
        **dict.fromkeys("\u00a0\u202f\u3000", " "),
    }
)
"""As they are meant: see views."""


def _of_categories(initials: str, *ranges: range) -> frozenset[str]:
    """Characters that nothing reads as others, by the first letter of their Unicode category."""
    of = (chr(code) for each in ranges for code in each)
    return frozenset(each for each in of if category(each)[0] in initials and normalize("NFKC", each) == each)


BEYOND = _of_categories(
    "LM",  # letters, and marks that belong to one
    range(0xC0, 0x250),  # Latin
    range(0x1E00, 0x1F00),
    range(0x370, 0x700),  # Greek, Cyrillic, Armenian, Hebrew, Arabic
    range(0x750, 0x780),
    range(0x900, 0xE80),  # of India and Thailand
    range(0x10A0, 0x1100),  # Georgian
    range(0x3005, 0x3100),  # Japanese
    range(0x3400, 0xA000),  # Chinese
    range(0xAC00, 0xD7A4),  # Korean
) | {"\u0e33"}
"""Letters of words that are asked about, beyond ASCII. The last is Thai: two letters in one, which nothing takes apart here."""
_SYMBOLS = _of_categories("S", range(0x2190, 0x2C00), range(0x1F300, 0x1FB00))
_PLAIN = BEYOND | _SYMBOLS | frozenset(ascii_letters)
_WIDER_IN_REGEX = BEYOND | {"\u00a0", "\u202f", "\u3000"}
"""Letters and blanks that RE2 takes for none in its mode for ASCII."""


Expression: TypeAlias = "regex.Pattern[str]"


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
        self._by_letter: dict[str, Sequence[Expression]] = {}
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
        text = before + word
        if self._ascii_only and not _WIDER_IN_REGEX.isdisjoint(text + behind):
            return True
        written = {(text, behind), (text.translate(_FOLDED), behind.translate(_FOLDED))}
        return any(self._one_begins_in(*each) for each in written)

    def _one_begins_in(self, text: str, behind: str) -> bool:
        asked = {each for letter in set(text) for each in self._beginning_with(letter)}
        return any(_begins_in(each, text, behind) for each in asked)

    def _beginning_with(self, letter: str) -> Sequence[Expression]:
        """Those of which a match may begin with it."""
        known = self._by_letter.get(letter)
        if known is None:
            known = self._by_letter[letter] = [each for each in self._all if _begins_in(each, letter, "")]
        return known


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
    """Whether it consists of letters, symbols and marks of prose, and is no text in base64."""
    if len(word) > LONGEST or _NUMBER.search(word) or _COLON.search(word):
        return False
    letters = word.lstrip(_OPENING).rstrip(_CLOSING).translate(_NOT_WITHIN)
    return (letters == "" or _PLAIN.issuperset(letters)) and not holds_text(word)


def _begins_in(expression: Expression, text: str, behind: str) -> bool:
    """Whether a match may begin in `text`. One that begins with the blank behind it is the next word's."""
    for _ in range(_TRIES):
        with contextlib.suppress(TimeoutError):
            match = expression.search(text + behind, partial=True, timeout=LONGEST_S)
            return match is not None and (match.start() < len(text) or not match.partial)  # a whole one hides one that goes on
    return True


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
