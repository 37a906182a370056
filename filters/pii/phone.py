"""Presidio's phone recognizer with one candidate scan for all its regions.

Presidio runs `phonenumbers.PhoneNumberMatcher` once per region, and each run searches the text for candidates anew. Candidates
depend on the region only in where the search goes on after a match, so they are found once per start position; what no region
can accept is dropped before any region parses it. Findings are the same, up to where the matcher of a region gives up: after
65,535 numbers that came to nothing, in one text. Ours goes on.
"""

import re
import sys
from collections import OrderedDict
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import blake2b
from os import urandom
from string import ascii_letters
from typing import NamedTuple

from phonenumbers import Leniency, PhoneNumberMatch, PhoneNumberMatcher
from phonenumbers import phonenumbermatcher as matcher
from phonenumbers.phonenumberutil import _SECOND_NUMBER_START_PATTERN

from headrace.filters.pii.gate import PHONE_MIN_DIGITS
from headrace.filters.pii.numbering import digits_of, impossible, is_certainly_valid, is_certainly_valid_in, plan_of, without_parts

LENIENCY = Leniency.VALID
"""What Presidio asks for (`leniency=1`)."""

# With fewer digits only German numbers are valid, and numbers after a plus sign, which mean the same in every region.
# (national numbers: US, GB, IL, CA 7, IN, BR 8, FR 9 digits; after an international prefix: 8)
SHORT_DIGITS = 7
SHORT_REGION = "DE"

# A candidate has at most two brackets or plus signs with four marks each before its first digit, which is found faster by itself.
_DIGIT = re.compile(r"\d")
_LEAD = 10
_LEADING = re.compile(r"[(\[\uff08\uff3b+\uff0b]")
_PLUS = "+\uff0b"
_LETTERS = frozenset(ascii_letters)
_APART = frozenset(["", " ", "\n", ",", ";", ":", "."])
"""Characters beside a candidate that the matcher does not ask about: no letters, no signs of money, no per cent."""


@dataclass(slots=True)
class Known:
    """What is known of a candidate, whatever stands around it. length: up to where a second number begins. digits: how many.

    hopeless: region → whether it is no number there, as far as that was asked. nowhere: it is none in any region.
    """

    length: int
    digits: int
    nowhere: bool
    is_piece: bool
    has_time: bool
    hopeless: dict[str, bool] = field(default_factory=dict)


def _known(candidate: str) -> Known:
    second = _SECOND_NUMBER_START_PATTERN.search(candidate)
    number = candidate[: second.start()] if second else candidate
    digits = sum(map(str.isdigit, number))
    nowhere = digits < PHONE_MIN_DIGITS or matcher._SLASH_SEPARATED_DATES.search(number) is not None
    return Known(len(number), digits, nowhere, number.isdigit(), matcher._TIME_STAMPS.search(number) is not None)


class Memory:
    """Remembers in which regions a candidate may be a number: years, dates, amounts come again and again.

    A candidate that fails as a text of its own fails everywhere, because its surroundings can only refuse more. What is kept is
    a keyed hash: no digits stay in memory.
    """

    def __init__(self, size: int = 8192) -> None:
        self._key = urandom(32)
        self._size = size
        self._known: OrderedDict[bytes, Known] = OrderedDict()

    def of(self, candidate: str) -> Known:
        """The caller adds what it finds out."""
        name = blake2b(candidate.encode(errors="replace"), key=self._key, digest_size=16).digest()
        known = self._known.get(name)
        if known is None:
            known = self._known[name] = _known(candidate)
            if len(self._known) > self._size:
                with suppress(KeyError):  # another thread may have dropped it
                    self._known.popitem(last=False)
        return known


class Candidate(NamedTuple):
    """What looks like a number at a place of a text."""

    start: int
    text: str
    known: Known

    @property
    def end(self) -> int:
        return self.start + len(self.text)


class _Candidates:
    """The candidates of one text that any region may accept, found once per start of the search."""

    def __init__(self, text: str, memory: Memory) -> None:
        self._text = text
        self._memory = memory
        self._after: dict[int, Candidate | None] = {}

    def after(self, index: int) -> Candidate | None:
        """The first candidate at or after `index`."""
        if index not in self._after:
            self._after[index] = self._search(index)
        return self._after[index]

    def stands_apart(self, candidate: Candidate) -> bool:
        """Whether nothing around the candidate can make a difference."""
        before, behind = self._text[max(0, candidate.start - 1) : candidate.start], self._text[candidate.end : candidate.end + 1]
        return before in _APART and behind in _APART

    def _search(self, index: int) -> Candidate | None:
        while (digit := _DIGIT.search(self._text, index)) is not None:
            led = _LEADING.search(self._text, max(index, digit.start() - _LEAD), digit.start())
            found = matcher._PATTERN.search(self._text, (led or digit).start())
            assert found is not None, "a digit is a candidate"
            start, index = found.span()
            candidate = found[0]
            if len(candidate) < PHONE_MIN_DIGITS or (candidate.isdigit() and self._is_beside_a_letter(start, index)):
                continue
            known = self._memory.of(candidate)
            index = start + known.length
            if not (known.nowhere or self._is_no_number(known, start, index)):
                return Candidate(start, candidate[: known.length], known)
        return None

    def _is_beside_a_letter(self, start: int, end: int) -> bool:
        """No region's matcher takes any of digits in one piece beside a letter, such as `user1234`."""
        return not _LETTERS.isdisjoint(self._text[max(0, start - 1) : start] + self._text[end : end + 1])

    def _is_no_number(self, known: Known, start: int, end: int) -> bool:
        """Whether no region's matcher takes any of it, because of what stands around it."""
        if known.is_piece and self._is_beside_a_letter(start, end):
            return True
        return known.has_time and matcher._TIME_STAMPS_SUFFIX.match(self._text, end) is not None


class _Matcher(PhoneNumberMatcher):
    """A region's, which parses only those parts of a candidate that may be numbers: of twenty groups of digits perhaps one."""

    def __init__(self, text: str, region: str) -> None:
        super().__init__(text, region, leniency=LENIENCY, max_tries=sys.maxsize)
        self._plan = plan_of(region)

    def _parse_and_verify(self, candidate: str, offset: int) -> PhoneNumberMatch | None:
        digits = digits_of(candidate)
        if digits is not None and not self._plan.may_be(digits):
            return None
        match: PhoneNumberMatch | None = super()._parse_and_verify(candidate, offset)
        return match


def _matches_alone(candidate: str, region: str) -> bool:
    alone = _Matcher(candidate, region)
    return alone._extract_match(candidate, 0) is not None


class PhoneFinder:
    """Finds what the phone recognizer finds, as pairs of start and end, each once."""

    def __init__(self, regions: Sequence[str]) -> None:
        self._regions = tuple(regions)
        self._memory = Memory()

    def find(self, text: str) -> Collection[tuple[int, int]]:
        candidates = _Candidates(text, self._memory)
        return _Search(text, self._regions, candidates).found if candidates.after(0) is not None else ()


class _Search:
    """One text's.

    Regions go from candidate to candidate together, until one accepts a part of a candidate: it goes on behind that by itself.
    """

    def __init__(self, text: str, regions: Sequence[str], candidates: _Candidates) -> None:
        self._text = text
        self._regions = regions
        self._candidates = candidates
        self._matchers: dict[str, _Matcher] = {}
        self.found: set[tuple[int, int]] = set()
        left: list[tuple[int, Sequence[str]]] = [(0, regions)]
        while left:
            left.extend(self._go(*left.pop()))

    def _go(self, index: int, regions: Sequence[str]) -> Iterator[tuple[int, Sequence[str]]]:
        """To the end of the text. Yields from where regions go on by themselves."""
        while regions and (candidate := self._candidates.after(index)) is not None:
            index = candidate.end
            parted = self._accepting_a_part(candidate, regions)
            if parted:
                yield from ((end, (region,)) for region, end in parted.items())
                regions = [region for region in regions if region not in parted]
            known = candidate.known
            known.nowhere = known.nowhere or all(known.hopeless.get(region) for region in self._asked(candidate, self._regions))

    def _asked(self, candidate: Candidate, regions: Sequence[str]) -> Sequence[str]:
        if candidate.known.digits >= SHORT_DIGITS:
            return regions
        return [region for region in regions if region == SHORT_REGION]

    def _accepting_a_part(self, candidate: Candidate, regions: Sequence[str]) -> Mapping[str, int]:
        """The regions that take less than the whole candidate for a number, and where their numbers end."""
        if is_certainly_valid(candidate.text) and self._candidates.stands_apart(candidate):
            self.found.add((candidate.start, candidate.end))
            return {}
        known, asked = candidate.known, self._asked(candidate, regions)
        settled = self._settled(candidate, asked)
        if not known.hopeless:
            known.hopeless = dict.fromkeys(impossible(candidate.text, [each for each in asked if each not in settled]), True)
        parted: dict[str, int] = {}
        for region in asked:
            match = None if known.hopeless.get(region) or region in settled else self._accepted(candidate, region)
            if match is None:
                continue
            self.found.add((match.start, match.end))
            if match.end != candidate.end:
                parted[region] = match.end
            elif match.raw_string == candidate.text and candidate.text[0] in _PLUS:
                break  # every region reads it alike
            elif match.raw_string == candidate.text and not settled:
                settled = set(without_parts(candidate.text, asked))  # there it is the same finding, or none
        return parted

    def _settled(self, candidate: Candidate, asked: Sequence[str]) -> Collection[str]:
        """The regions that need not be asked: the whole candidate is found for certain, and they take no part of it."""
        if not self._candidates.stands_apart(candidate) or not any(is_certainly_valid_in(candidate.text, each) for each in asked):
            return ()
        self.found.add((candidate.start, candidate.end))
        return set(without_parts(candidate.text, asked))

    def _accepted(self, candidate: Candidate, region: str) -> PhoneNumberMatch | None:
        """The number; what was not known of the candidate in the region then is."""
        hopeless, is_new = candidate.known.hopeless, region not in candidate.known.hopeless
        match: PhoneNumberMatch | None = self._matcher(region)._extract_match(candidate.text, candidate.start)
        if is_new and match is None:
            hopeless[region] = self._candidates.stands_apart(candidate) or not _matches_alone(candidate.text, region)
        elif is_new:
            hopeless[region] = False
        return match

    def _matcher(self, region: str) -> _Matcher:
        made = self._matchers.get(region)
        if made is None:
            made = self._matchers[region] = _Matcher(self._text, region)
        return made
