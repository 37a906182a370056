"""Presidio's phone recognizer with one candidate scan for all its regions.

Presidio runs `phonenumbers.PhoneNumberMatcher` once per region, and each run searches the text for candidates anew. Candidates
depend on the region only in where the search goes on after a match, so they are found once per start position; what no region
can accept is dropped before any region parses it. Findings are the same, up to where the matcher of a region gives up: after
65,535 numbers that came to nothing, in one text. Ours goes on.
"""

import sys
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import suppress
from hashlib import blake2b
from os import urandom
from string import ascii_letters

from phonenumbers import Leniency, PhoneNumberMatch, PhoneNumberMatcher
from phonenumbers import phonenumbermatcher as matcher
from phonenumbers.phonenumberutil import _SECOND_NUMBER_START_PATTERN

from headrace.filters.pii.gate import PHONE_MIN_DIGITS
from headrace.filters.pii.numbering import is_possible

LENIENCY = Leniency.VALID
"""What Presidio asks for (`leniency=1`)."""

# With fewer digits only German numbers are valid, and numbers after a plus sign, which mean the same in every region.
# (national numbers: US, GB, IL, CA 7, IN, BR 8, FR 9 digits; after an international prefix: 8)
SHORT_DIGITS = 7
SHORT_REGION = "DE"

Candidate = tuple[int, str]
_PLUS = "+\uff0b"
_LETTERS = frozenset(ascii_letters)
_APART = frozenset(["", " ", "\n", ",", ";", ":", "."])
"""Characters beside a candidate that the matcher does not ask about: no letters, no signs of money, no per cent."""


class _Candidates:
    """The candidates of one text that any region may accept, found once per start of the search."""

    def __init__(self, text: str, hopeless: "_Hopeless") -> None:
        self._text = text
        self._hopeless = hopeless
        self._verdicts: dict[int, dict[str, bool]] = {}
        self._after: dict[int, tuple[Candidate, int] | None] = {}
        self.international: dict[int, PhoneNumberMatch] = {}
        """Start → a number that begins with a plus sign and is its whole candidate: every region reads it alike."""

    def after(self, index: int) -> tuple[Candidate, int] | None:
        """The first candidate at or after `index`, and its number of digits."""
        if index not in self._after:
            self._after[index] = self._search(index)
        return self._after[index]

    def verdicts(self, candidate: str, start: int) -> dict[str, bool]:
        """Region → whether the candidate at `start` is no number there, whatever stands around it; as far as that is known."""
        known = self._verdicts.get(start)
        if known is None:
            known = self._verdicts[start] = self._hopeless.of(candidate)
        return known

    def stands_apart(self, candidate: str, start: int) -> bool:
        """Whether nothing around the candidate can make a difference."""
        end = start + len(candidate)
        return self._text[max(0, start - 1) : start] in _APART and self._text[end : end + 1] in _APART

    def _search(self, index: int) -> tuple[Candidate, int] | None:
        while (found := matcher._PATTERN.search(self._text, index)) is not None:
            candidate = _before_second_number(found.group())
            digits = sum(map(str.isdigit, candidate))
            if digits >= PHONE_MIN_DIGITS and not self._is_no_number(candidate, found.start()):
                return (found.start(), candidate), digits
            index = found.start() + len(candidate)
        return None

    def _is_no_number(self, candidate: str, start: int) -> bool:
        """Whether no region's matcher takes it, or a part of it."""
        return self._is_part_of_a_word(candidate, start) or self._is_date(candidate, start)

    def _is_part_of_a_word(self, candidate: str, start: int) -> bool:
        """Whether it is digits in one piece beside a letter: `user1234`."""
        if not candidate.isdigit():
            return False
        end = start + len(candidate)
        beside = self._text[start - 1 : start] + self._text[end : end + 1] if start else self._text[end : end + 1]
        return not _LETTERS.isdisjoint(beside)

    def _is_date(self, candidate: str, start: int) -> bool:
        """The first two checks of `PhoneNumberMatcher._extract_match`, which do not depend on the region."""
        if matcher._SLASH_SEPARATED_DATES.search(candidate):
            return True
        if not matcher._TIME_STAMPS.search(candidate):
            return False
        return matcher._TIME_STAMPS_SUFFIX.match(self._text, start + len(candidate)) is not None


def _before_second_number(candidate: str) -> str:
    second = _SECOND_NUMBER_START_PATTERN.search(candidate)
    return candidate[: second.start()] if second else candidate


class _RegionMatcher(PhoneNumberMatcher):
    """`PhoneNumberMatcher` for one region, over shared candidates."""

    def __init__(self, text: str, region: str, candidates: _Candidates) -> None:
        super().__init__(text, region, leniency=LENIENCY, max_tries=sys.maxsize)
        self._region = region
        self._candidates = candidates

    def _find(self, index: int) -> PhoneNumberMatch | None:
        while (found := self._candidates.after(index)) is not None:
            (start, candidate), digits = found
            match = self._accepted(candidate, start, digits)
            if match is not None:
                return match
            index = start + len(candidate)
        return None

    def _accepted(self, candidate: str, start: int, digits: int) -> PhoneNumberMatch | None:
        if digits < SHORT_DIGITS and self._region != SHORT_REGION:
            return None
        if (known := self._candidates.international.get(start)) is not None:
            return known
        verdicts = self._candidates.verdicts(candidate, start)
        hopeless = verdicts.get(self._region)
        if hopeless is None and not is_possible(candidate, self._region):
            hopeless = verdicts[self._region] = True
        if hopeless:
            return None
        match: PhoneNumberMatch | None = self._extract_match(candidate, start)
        if hopeless is None and match is not None:
            verdicts[self._region] = False
        elif hopeless is None:
            verdicts[self._region] = self._candidates.stands_apart(candidate, start) or not _matches_alone(candidate, self._region)
        if match is not None and candidate[0] in _PLUS and match.raw_string == candidate:
            self._candidates.international[start] = match
        return match


class _Hopeless:
    """Remembers in which regions a candidate may be a number: years, dates, amounts come again and again.

    A candidate that fails as a text of its own fails everywhere, because its surroundings can only refuse more. What is kept is
    a keyed hash: no digits stay in memory.
    """

    def __init__(self, size: int = 8192) -> None:
        self._key = urandom(32)
        self._size = size
        self._known: OrderedDict[bytes, dict[str, bool]] = OrderedDict()

    def of(self, candidate: str) -> dict[str, bool]:
        """Region → whether the candidate is hopeless there, as far as that is known; the caller adds what it finds out."""
        name = blake2b(candidate.encode(errors="replace"), key=self._key, digest_size=16).digest()
        known = self._known.get(name)
        if known is None:
            known = self._known[name] = {}
            if len(self._known) > self._size:
                with suppress(KeyError):  # another thread may have dropped it
                    self._known.popitem(last=False)
        return known


def _matches_alone(candidate: str, region: str) -> bool:
    alone = PhoneNumberMatcher(candidate, region, leniency=LENIENCY, max_tries=sys.maxsize)
    return alone._extract_match(candidate, 0) is not None


class PhoneFinder:
    """Finds what the phone recognizer finds, as pairs of start and end."""

    def __init__(self, regions: Sequence[str]) -> None:
        self._regions = tuple(regions)
        self._hopeless = _Hopeless()

    def find(self, text: str) -> Iterator[tuple[int, int]]:
        candidates = _Candidates(text, self._hopeless)
        if candidates.after(0) is None:
            return
        for region in self._regions:
            for match in _RegionMatcher(text, region, candidates):
                yield match.start, match.end
