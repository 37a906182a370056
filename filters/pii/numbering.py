"""What a region's numbering plan can take for a number: necessary conditions, much cheaper than parsing.

Each says for certain only that `PhoneNumberMatcher` finds nothing; where it may read a candidate in ways that are not described
here, the answer is that it may find something.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from typing import Any, NamedTuple

from phonenumbers import COUNTRY_CODE_TO_REGION_CODE, PhoneMetadata, country_code_for_region, region_code_for_country_code
from phonenumbers.phonenumberutil import _formatting_rule_has_first_group_only

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


def impossible(candidate: str, regions: Iterable[str]) -> Iterator[str]:
    """Those of the regions in which neither the candidate nor a part of it is a number, nor where they share a country's code."""
    if _WHOLE.fullmatch(candidate):
        digits = candidate.replace("-", "")
        yield from (region for region in regions if not plan_of(region).may_be(digits))
    elif (runs := _runs(candidate)) is not None:
        yield from (region for region in regions if not any(map(plan_of(region).ends, runs)))


def _runs(candidate: str) -> Sequence[str] | None:
    """The digits of every row of neighbouring groups: what the matcher may read as a number. None where it may read more."""
    if not _NATIONAL.fullmatch(candidate) or _ABROAD.search(candidate):
        return None
    groups = _GROUP.findall(candidate)
    if len(groups) > _MOST_GROUPS:
        return None
    return ["".join(groups[start:end]) for start in range(len(groups)) for end in range(start + 1, len(groups) + 1)]


KINDS = (
    *("fixed_line", "mobile", "toll_free", "premium_rate", "shared_cost"),
    *("voip", "personal_number", "pager", "uan", "voicemail"),
)
"""What a valid number is one of."""


class NumberingPlan:
    """What the regions that share a region's country code describe: numbers in general, in few words, and each kind of them."""

    def __init__(self, region: str) -> None:
        self._code = country_code_for_region(region)
        metadata = [PhoneMetadata.metadata_for_region(each) for each in COUNTRY_CODE_TO_REGION_CODE[self._code]]
        known = [each for each in metadata if each is not None]
        general = _any_of(known, ("general_desc",))
        kinds = _any_of(known, KINDS)
        self._general, self._kinds = re.compile(general), re.compile(kinds)
        behind = f"[0-9]{{0,{_PREFIX_DIGITS}}}"
        self._ends_in_general, self._ends_in_kinds = re.compile(behind + general), re.compile(behind + kinds)
        # As the matcher parses with the region's own prefixes, and asks for those of the code's main region.
        main = PhoneMetadata.metadata_for_region(region_code_for_country_code(self._code))
        own = PhoneMetadata.metadata_for_region(region)
        prefixes = (str(self._code), *_prefixes(own), *_prefixes(main))
        self._prefix = re.compile("|".join(f"(?:{each})" for each in dict.fromkeys(prefixes)))
        self._forms = _forms(main)

    def ends(self, digits: str) -> bool:
        """Whether the digits, prefixes included, may be a number."""
        return self._ends_in_general.fullmatch(digits) is not None and self._ends_in_kinds.fullmatch(digits) is not None

    def may_be(self, digits: str) -> bool:
        """Whether digits that are one group, or groups apart by hyphens, which the matcher reads whole, may be a number.

        Digits that begin with neither the country's code nor any prefix are a national number as they stand: the patterns have
        to match all of them, and the number must be one that is written without the prefix.
        """
        if self._prefix.match(digits):
            return self.ends(digits)
        if self._general.fullmatch(digits) is None or self._kinds.fullmatch(digits) is None:
            return False
        return self._is_written_without_prefix(digits)

    def _is_written_without_prefix(self, digits: str) -> bool:
        for form in self._forms:
            if form.begins.match(digits) and form.digits.fullmatch(digits):
                return form.is_bare
        return True


class _Form(NamedTuple):
    """How numbers are written that begin so and have these digits. is_bare: with or without the prefix."""

    begins: re.Pattern[str]
    digits: re.Pattern[str]
    is_bare: bool


def _forms(metadata: Any) -> Sequence[_Form]:
    """The first that fits a number is its own. metadata: of a country code's main region, or None."""
    return [
        _Form(
            re.compile(each.leading_digits_pattern[-1] if each.leading_digits_pattern else ""),
            re.compile(each.pattern),
            _is_bare(each),
        )
        for each in (metadata.number_format if metadata is not None else ())
    ]


def _is_bare(form: Any) -> bool:
    """As `_is_national_prefix_present_if_required` has it."""
    rule = form.national_prefix_formatting_rule
    return bool(not rule or form.national_prefix_optional_when_formatting or _formatting_rule_has_first_group_only(rule))


class _Lines:
    """Lines and mobiles of a country's code, as the region describes them in which its numbers are first looked for."""

    def __init__(self, code: int) -> None:
        metadata: Any = PhoneMetadata.metadata_for_region(COUNTRY_CODE_TO_REGION_CODE[code][0], None)
        self._usable = metadata is not None and metadata.leading_digits is None
        if self._usable:
            self._general = _Described(metadata.general_desc)
            self._kinds = [_Described(each) for each in (metadata.fixed_line, metadata.mobile)]
            self._prefix = re.compile(metadata.national_prefix_for_parsing or _NOTHING)

    def are(self, digits: str) -> bool:
        """Whether it is one of them, and does not begin with the prefix that is dialled within the country."""
        if not self._usable or digits[:1] == "0" or self._prefix.match(digits):
            return False
        return self._general.matches(digits) and any(each.matches(digits) for each in self._kinds)


_NOTHING = r"(?!)"


class _Described:
    """Numbers as metadata describes one kind of them."""

    def __init__(self, described: Any) -> None:
        pattern = described.national_number_pattern if described is not None else None
        self._pattern = re.compile(pattern or _NOTHING)
        self._lengths = frozenset(described.possible_length if described is not None else ())

    def matches(self, digits: str) -> bool:
        if self._lengths and len(digits) not in self._lengths:
            return False
        return self._pattern.fullmatch(digits) is not None


def _any_of(regions: Sequence[Any], kinds: Sequence[str]) -> str:
    """A pattern of all the numbers that metadata of regions describes as one of `kinds`."""
    described = [getattr(metadata, kind) for metadata in regions for kind in kinds]
    patterns = dict.fromkeys(each.national_number_pattern or r"\d+" for each in described if each is not None)
    return f"(?:{'|'.join(patterns)})"


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
