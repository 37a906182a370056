"""Recognizers of our own and of a policy's: patterns in RE2, which takes linear time whatever the pattern and the text."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

import re2
import regex  # type: ignore[import-untyped]

from headrace.filters.pii.beginnings import Beginning
from headrace.filters.pii.spans import Span

_SURROGATES = re.compile("[\ud800-\udfff]")
MAX_PATTERN = 2000
"""Characters of a policy's pattern: RE2's time grows with it."""

_OTHERWISE = re.compile(r"\\(?![bdDsSwWtnrfv])[A-Za-z0-9]|\(\?(?!:|P<)|\[:\^?\w+:\]")
"""What RE2 and `regex` may read differently, or not at all."""
_FLAGS = int(regex.MULTILINE | regex.DOTALL)
_BEYOND = re.compile(r"\\[bwWS]|\[\^")
"""What `regex` reads as RE2 does in its mode for ASCII only, in which capitals beyond ASCII are none."""

Check = Callable[[str], bool]


class BadPattern(ValueError):
    """A pattern that RE2 does not take; the message says why."""


@lru_cache(maxsize=1024)
def compiled(pattern: str, *, ignore_case: bool = True) -> Any:
    """Raises BadPattern: for look-around and back-references, too, which no linear engine has."""
    if len(pattern) > MAX_PATTERN:
        raise BadPattern(f"it has {len(pattern)} characters, more than {MAX_PATTERN}")
    flags = f"(?{'i' if ignore_case else ''}ms)"
    try:
        expression = re2.compile(flags + pattern, _options())
    except re2.error as error:
        said = _reason(error, pattern).replace(flags, "", 1)
        raise BadPattern(f"RE2 does not take it: {said}") from None
    if expression.search("") is not None:
        raise BadPattern("it matches an empty text")
    return expression


@cache
def _options() -> Any:
    options = re2.Options()
    options.log_errors = False  # they would go to standard error; they are told where the pattern stands
    return options


_NOT_LINEAR = re.compile(r"\(\?<?[=!]|\\[1-9]|\(\?P=|\\k<")


def _reason(error: Exception, pattern: str) -> str:
    """What RE2 says, and what would be right where that is known."""
    said = error.args[0] if error.args else error
    text = said.decode("utf-8", "replace") if isinstance(said, bytes) else str(said)
    if _NOT_LINEAR.search(pattern):
        return f"{text}; look-around and back-references are not linear"
    if "repetition operator" in text:
        return f"{text}; what a glob writes as * and ? are .* and . in a regular expression"
    return text


@dataclass(frozen=True, slots=True)
class LinearPattern:
    """A pattern in RE2's syntax and what its matches score. Its first group, where it has one, is the finding."""

    pattern: str
    score: float
    ignore_case: bool = True

    @property
    def beginning(self) -> Beginning:
        flags = _FLAGS | (regex.IGNORECASE if self.ignore_case else 0)
        if self.pattern.isascii():
            return Beginning(self.pattern, int(flags | regex.ASCII))
        return Beginning(self.pattern, int(flags), ascii_only=_BEYOND.search(self.pattern) is not None)


@dataclass(frozen=True, slots=True)
class LinearRecognizer:
    """patterns: searched in order. words: found as whole words, with a score of 1. check: whether a match is a finding.

    allowed: values, folded, that are no findings. hints: as in Finder; where there are none, the patterns themselves are the gate.
    """

    name: str
    entity: str
    patterns: tuple[LinearPattern, ...] = ()
    words: tuple[str, ...] = ()
    context: tuple[str, ...] = ()
    check: Check | None = None
    allowed: frozenset[str] = frozenset()
    hints: tuple[str, ...] = ()

    @property
    def best(self) -> float:
        return max([each.score for each in self.patterns] + [1.0 for _ in self.words[:1]], default=0.0)

    @property
    def gates(self) -> tuple[str, ...]:
        return (*(each.pattern for each in self.patterns), *(re.escape(word) for word in self.words))

    @property
    def beginnings(self) -> Sequence[Beginning] | None:
        if any(_OTHERWISE.search(each.pattern) for each in self.patterns):
            return None
        words = (Beginning(regex.escape(word), _FLAGS | regex.IGNORECASE) for word in self.words)
        return [*(each.beginning for each in self.patterns), *words]

    def find(self, text: str) -> Iterator[Span]:
        plain = _SURROGATES.sub("\ufffd", text)
        for start, end, score in (*self._matches(plain), *self._listed(plain)):
            value = plain[start:end]
            if value and value.casefold() not in self.allowed and (self.check is None or self.check(value)):
                yield Span(start, end, self.entity, score)

    def _matches(self, text: str) -> Iterator[tuple[int, int, float]]:
        for each in self.patterns:
            for match in compiled(each.pattern, ignore_case=each.ignore_case).finditer(text):
                yield (*match.span(1 if match.re.groups else 0), each.score)

    def _listed(self, text: str) -> Iterator[tuple[int, int, float]]:
        if self.words:
            for match in compiled("|".join(map(re2.escape, self.words))).finditer(text):
                if _stands_alone(text, *match.span()):
                    yield (*match.span(), 1.0)


def _stands_alone(text: str, start: int, end: int) -> bool:
    """Whether `text[start:end]` is a word, or words, of its own."""
    before, after = text[start - 1 : start], text[end : end + 1]
    return not (_joins(before) and _joins(text[start])) and not (_joins(after) and _joins(text[end - 1]))


def _joins(character: str) -> bool:
    return character.isalnum() or character == "_"


# --- checks --------------------------------------------------------------------------------------------------------------------


def luhn(value: str) -> bool:
    """Whether the digits end in their check digit, as those of payment cards do."""
    digits = [int(character) for character in value if character in "0123456789"][::-1]
    doubled = sum(sum(divmod(2 * digit, 10)) for digit in digits[1::2])
    return len(digits) > 1 and (sum(digits[::2]) + doubled) % 10 == 0


def mod97(value: str) -> bool:
    """Whether letters and digits pass ISO 7064's MOD 97-10, as an IBAN does: the first four characters come last."""
    plain = "".join(character for character in value.upper() if character.isascii() and character.isalnum())
    return len(plain) > 4 and int("".join(str(int(each, 36)) for each in plain[4:] + plain[:4])) % 97 == 1


_VERHOEFF = (
    "0123456789", "1234067895", "2340178956", "3401289567", "4012395678",
    "5987604321", "6598710432", "7659821043", "8765932104", "9876543210",
)  # fmt: skip
_PERMUTED = ("0123456789", "1576283094", "5803796142", "8916043527", "9453126870", "4286573901", "2793806415", "7046913258")


def verhoeff(value: str) -> bool:
    """Whether the digits end in Verhoeff's check digit, as those of Aadhaar do."""
    digits = [int(character) for character in value if character in "0123456789"]
    row = 0
    for place, digit in enumerate(reversed(digits)):
        row = int(_VERHOEFF[row][int(_PERMUTED[place % 8][digit])])
    return len(digits) > 1 and row == 0


CHECKS: Mapping[str, Check] = {"luhn": luhn, "mod97": mod97, "verhoeff": verhoeff}


def problems(patterns: Sequence[str]) -> Iterator[tuple[int, str]]:
    """What is wrong with which of a policy's patterns."""
    for index, pattern in enumerate(patterns):
        try:
            compiled(pattern)
        except BadPattern as error:
            yield index, str(error)
