"""What a region's numbering plan can take for a number: necessary conditions, much cheaper than parsing.

Each says for certain only that `PhoneNumberMatcher` finds nothing; where it may read a candidate in ways that are not described
here, the answer is that it may find something.
"""

import re
from collections.abc import Sequence
from functools import cache
from typing import Any

from phonenumbers import (
    COUNTRY_CODE_TO_REGION_CODE,
    CountryCodeSource,
    PhoneMetadata,
    PhoneNumber,
    country_code_for_region,
    region_code_for_country_code,
)
from phonenumbers import phonenumbermatcher as matcher

# What national numbers are written with, apart from extensions and calls abroad: those begin with a plus, 00, 011 or the like.
_NATIONAL = re.compile(r"[0-9 ().\-/\[\]]+")
_ABROAD = re.compile(r"(?<![0-9])0[01]")
_GROUP = re.compile("[0-9]+")
# A country's code (3 digits at most) and a prefix of the network (4) come before the digits that a country's pattern describes.
_PREFIX_DIGITS = 7
_MOST_GROUPS = 8
# Groups of which the matcher reads all or nothing: it tries parts of a candidate at spaces, brackets, slashes and full stops.
_WHOLE = re.compile("[1-9][0-9]*(?:-[0-9]+)*")


# Of a number written with its country's code, in a form of which the matcher has no doubt. The code's digits and the number's.
_INTERNATIONAL = re.compile(r"\+[1-9][0-9]*(?:[ .-][0-9]+)*|\+[1-9][0-9]{0,2} \([0-9]{2,4}\) ?[0-9]+(?:[ .-][0-9]+)*")
_CODE_DIGITS = 3
_MARKS = str.maketrans("", "", "+ .-()")


def is_certainly_valid(candidate: str) -> bool:
    """Whether it is a usual number with its country's code: a line or a mobile of the code's main region.

    False says nothing. For most numbers that spares `parse`, which is two thirds of what they cost.
    """
    if not _INTERNATIONAL.fullmatch(candidate):
        return False
    digits = candidate.translate(_MARKS)
    for length in range(1, _CODE_DIGITS + 1):
        if (code := int(digits[:length])) in COUNTRY_CODE_TO_REGION_CODE:
            return _lines_of(code).are(digits[length:])
    return False


def is_possible(candidate: str, region: str) -> bool:
    """Whether the candidate, or a part of it, may be a number of the region or of one that shares its country's code."""
    if _WHOLE.fullmatch(candidate):
        return plan_of(region).may_be(candidate)
    runs = _runs(candidate)
    return runs is None or any(map(plan_of(region).with_prefix.fullmatch, runs))


def _runs(candidate: str) -> Sequence[str] | None:
    """The digits of every row of neighbouring groups: what the matcher may read as a number. None where it may read more."""
    if not _NATIONAL.fullmatch(candidate) or _ABROAD.search(candidate):
        return None
    groups = _GROUP.findall(candidate)
    if len(groups) > _MOST_GROUPS:
        return None
    return ["".join(groups[start:end]) for start in range(len(groups)) for end in range(start + 1, len(groups) + 1)]


class NumberingPlan:
    """with_prefix: matches the digits, prefixes included, of what may be a number of a region with its country's code."""

    def __init__(self, region: str) -> None:
        self._code = country_code_for_region(region)
        metadata = [PhoneMetadata.metadata_for_region(each) for each in COUNTRY_CODE_TO_REGION_CODE[self._code]]
        known = [each for each in metadata if each is not None]
        described = (each.general_desc for each in known if each.general_desc is not None)
        patterns = "|".join(dict.fromkeys(each.national_number_pattern or r"\d+" for each in described))
        self.with_prefix = re.compile(f"[0-9]{{0,{_PREFIX_DIGITS}}}(?:{patterns})")
        self._number = re.compile(f"(?:{patterns})")
        # As the matcher parses with the region's own prefixes, and asks for those of the code's main region.
        main = PhoneMetadata.metadata_for_region(region_code_for_country_code(self._code))
        own = PhoneMetadata.metadata_for_region(region)
        self._prefixes = [re.compile(each) for each in (*_prefixes(own), *_prefixes(main))]

    def may_be(self, candidate: str) -> bool:
        """Whether groups apart by hyphens, which the matcher reads whole, may be a number.

        Digits that begin with neither the country's code nor any prefix are a national number as they stand: the pattern has
        to match all of them, and the number must be one that is written without the prefix.
        """
        digits = candidate.replace("-", "")
        if digits.startswith(str(self._code)) or any(each.match(digits) for each in self._prefixes):
            return self.with_prefix.fullmatch(digits) is not None
        return self._number.fullmatch(digits) is not None and self._stands_without_prefix(candidate, digits)

    def _stands_without_prefix(self, candidate: str, digits: str) -> bool:
        source = CountryCodeSource.FROM_DEFAULT_COUNTRY
        number = PhoneNumber(self._code, int(digits), raw_input=candidate, country_code_source=source)
        stands: bool = matcher._is_national_prefix_present_if_required(number)
        return stands


class _Lines:
    """Lines and mobiles of a country's code, as the region describes them in which its numbers are first looked for."""

    def __init__(self, code: int) -> None:
        metadata: Any = PhoneMetadata.metadata_for_region(COUNTRY_CODE_TO_REGION_CODE[code][0], None)
        usable = metadata is not None and metadata.leading_digits is None
        self._described = [metadata.fixed_line, metadata.mobile] if usable else []
        self._general = metadata.general_desc if usable else None
        self._prefix = re.compile(metadata.national_prefix_for_parsing or _NOTHING) if usable else re.compile(_NOTHING)

    def are(self, digits: str) -> bool:
        """Whether it is one of them, and does not begin with the prefix that is dialled within the country."""
        if self._general is None or self._prefix.match(digits) or digits[:1] == "0":
            return False
        return _matches(self._general, digits) and any(_matches(each, digits) for each in self._described)


_NOTHING = r"(?!)"


def _matches(described: Any, digits: str) -> bool:
    if described is None or not described.national_number_pattern:
        return False
    if described.possible_length and len(digits) not in described.possible_length:
        return False
    return re.fullmatch(described.national_number_pattern, digits) is not None


@cache
def _lines_of(code: int) -> _Lines:
    return _Lines(code)


def _prefixes(metadata: Any) -> Sequence[str]:
    """Before national numbers and before calls abroad; metadata: of a region, or None."""
    if metadata is None:
        return ()
    return [each for each in (metadata.national_prefix_for_parsing, metadata.international_prefix) if each]


@cache
def plan_of(region: str) -> NumberingPlan:
    """The plan of one of phonenumbers' regions."""
    return NumberingPlan(region)
