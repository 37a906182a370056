"""What a region's numbering plan can take for a number: necessary conditions, much cheaper than parsing.

Each says for certain only that `PhoneNumberMatcher` finds nothing; where it may read a candidate in ways that are not described
here, the answer is that it may find something.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence, Set
from functools import cache, cached_property
from typing import Any, NamedTuple

from phonenumbers import (
    COUNTRY_CODE_TO_REGION_CODE,
    REGION_CODE_FOR_NON_GEO_ENTITY,
    PhoneMetadata,
    country_code_for_region,
    region_code_for_country_code,
)
from phonenumbers.phonenumberutil import _formatting_rule_has_first_group_only

from headrace.filters.pii.gate import PHONE_MIN_DIGITS

# What stands between a number's digits and is neither a letter nor the mark of an extension (tilde, comma, x, #): of a candidate
# without others, the digits alone decide, and whether a plus comes first.
_MARKS_BETWEEN = " ().\\-/\\[\\]\u00a0\u00ad\u200b\u2010-\u2015\u2060\u2212\u3000\u30fc\uff08\uff09\uff0d-\uff0f\uff3b\uff3d"
_PLAIN = re.compile(rf"[{_MARKS_BETWEEN}]*\+?[\d{_MARKS_BETWEEN}]+")
# Behind these the matcher reads all the rest of a candidate; apart at blanks, full stops and brackets it reads every part.
_SEPARATORS = (re.compile("/"), re.compile(r"\s-|-\s"), re.compile("[\u2012-\u2015\uff0d]"))
# A number has 17 at most; before it come prefixes for calls abroad, of countries, and of carriers, of 5 each at most.
_MOST_DIGITS = 40


# Of a number written with its country's code, in a form of which the matcher has no doubt. The code's digits and the number's.
_INTERNATIONAL = re.compile(r"\+[1-9][0-9]*(?:[ .-][0-9]+)*|\+[1-9][0-9]{0,2} \([0-9]{2,4}\) ?[0-9]+(?:[ .-][0-9]+)*")
# The same of one written as within its country.
_NATIONAL = re.compile(r"[0-9]+(?:[ .-][0-9]+)*")
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


def is_certainly_valid_in(candidate: str, region: str) -> bool:
    """Whether it is a usual number of the region as it is dialled within the country. False says nothing."""
    return _NATIONAL.fullmatch(candidate) is not None and plan_of(region).is_certain(candidate.translate(_MARKS))


def impossible(candidate: str, regions: Iterable[str]) -> Iterator[str]:
    """Those of the regions in which neither the candidate nor a part of it is a number, nor where they share a country's code."""
    readings = _readings(candidate)
    if readings is not None:
        yield from (region for region in regions if not any(map(plan_of(region).may_be, readings)))


def without_parts(candidate: str, regions: Iterable[str]) -> Iterator[str]:
    """Those of the regions in which no part of the candidate is a number, though the whole may be one."""
    readings = _readings(candidate)
    if readings is not None:
        parts = readings - {candidate.translate(_DIGITS)}
        yield from (region for region in regions if not any(map(plan_of(region).may_be, parts)))


def digits_of(candidate: str) -> str | None:
    """Its digits, as ASCII, behind its plus if it has one; None where something besides may tell what number it is."""
    return candidate.translate(_DIGITS) if _PLAIN.fullmatch(candidate) else None


def _readings(candidate: str) -> Set[str] | None:
    """The digits of the candidate and of every part of it that the matcher reads; None where it may read more."""
    if not _PLAIN.fullmatch(candidate):
        return None
    parts = {candidate, *candidate.split(), *candidate.split("."), *candidate.split("(")}
    for separator in _SEPARATORS:
        found = list(separator.finditer(candidate))
        if found:
            parts.add(candidate[: found[0].start()])
            parts.update(candidate[each.end() :] for each in found)
    return {digits for part in parts if PHONE_MIN_DIGITS <= len(digits := part.translate(_DIGITS)) <= _MOST_DIGITS}


class _Digits(dict[int, str]):
    """A table for `str.translate`: digits of any script as ASCII, a plus as it is, nothing of what stands between them."""

    def __missing__(self, code: int) -> str:
        digit = unicodedata.digit(chr(code), None)
        found = self[code] = "" if digit is None else str(digit)
        return found


_DIGITS = _Digits({ord("+"): "+"})


_NOTHING = r"(?!)"

KINDS = (
    *("fixed_line", "mobile", "toll_free", "premium_rate", "shared_cost"),
    *("voip", "personal_number", "pager", "uan", "voicemail"),
)
"""What a valid number is one of."""


class NumberingPlan:
    """What the regions that share a region's country code describe: numbers in general, in few words, and each kind of them."""

    def __init__(self, region: str) -> None:
        code = country_code_for_region(region)
        self._code = str(code)
        metadata = [PhoneMetadata.metadata_for_region(each) for each in COUNTRY_CODE_TO_REGION_CODE[code]]
        known = [each for each in metadata if each is not None]
        general = _any_of(known, ("general_desc",))
        kinds = _any_of(known, KINDS)
        self._general, self._kinds = re.compile(general), re.compile(kinds)
        self._lengths = frozenset(length for each in known if each.general_desc for length in each.general_desc.possible_length)
        # As the matcher parses with the region's own prefixes, and asks for those of the code's main region.
        own: Any = PhoneMetadata.metadata_for_region(region)
        main: Any = PhoneMetadata.metadata_for_region(region_code_for_country_code(code)) or own
        self._abroad = re.compile(own.international_prefix or _NOTHING)
        self._own, self._main = _NationalPrefix(own), _NationalPrefix(main)
        prefixes = (self._code, own.national_prefix_for_parsing, main.national_prefix_for_parsing, own.international_prefix)
        self._prefix = re.compile("|".join(f"(?:{each})" for each in dict.fromkeys(prefixes) if each))
        self._is_main = own.id == main.id
        self._of_main = main

    @cached_property
    def _forms(self) -> Sequence["_Form"]:
        return _forms(self._of_main)

    def may_be(self, digits: str) -> bool:
        """Whether digits, prefixes included, that the matcher reads as one number may be one; a plus may stand before them.

        A number without any prefix must be one that is written so.
        """
        if digits.startswith("+"):
            return self._may_be_behind_plus(digits[1:])
        if self._prefix.match(digits) is None:
            return self._is(digits) and self._is_written_without_prefix(digits)
        if self._is(digits) and (self._main.begins(digits) or self._is_written_without_prefix(digits)):
            return True
        if any(map(self._is, self._stripped(digits))):
            return True
        prefix = self._abroad.match(digits)
        return prefix is not None and _may_be_abroad(digits[prefix.end() :]) is True

    def is_certain(self, digits: str) -> bool:
        """Whether they are a line or a mobile of the code's main region, without any prefix, or behind a 0 that is the prefix."""
        if self._prefix.match(digits) is None:
            return _lines_of(int(self._code)).are(digits) and self._is_written_without_prefix(digits)
        if not self._is_main or self._main.digits != "0" or digits[:1] != "0" or self._abroad.match(digits):
            return False
        return not self._is(digits) and _lines_of(int(self._code)).are(digits[1:])

    def may_be_a_line(self, number: str) -> bool:
        """Whether what follows the country's code may be a number; the prefix that is dialled within the country may come first."""
        return self._is(number) or any(map(self._is, self._main.without(number)))

    def _may_be_behind_plus(self, digits: str) -> bool:
        """Where no country's code follows, the matcher reads on as if there were no plus."""
        found = _may_be_abroad(digits)
        return found if found is not None else self._abroad.match(digits) is not None

    def _is(self, number: str) -> bool:
        if len(number) not in self._lengths:
            return False
        return self._general.fullmatch(number) is not None and self._kinds.fullmatch(number) is not None

    def _stripped(self, digits: str) -> Iterator[str]:
        """What is left of digits that begin with the prefix that is dialled within the country, with its code, or with both."""
        yield from self._own.without(digits)
        if digits.startswith(self._code):
            number = digits[len(self._code) :]
            for each in (number, *self._own.without(number)):
                yield each
                yield from self._main.without(each)

    def _is_written_without_prefix(self, digits: str) -> bool:
        for form in self._forms:
            if form.begins.match(digits) and form.digits.fullmatch(digits):
                return form.is_bare
        return True


class _NationalPrefix:
    """What is dialled before numbers within a country, with the code of a carrier in some."""

    def __init__(self, metadata: Any) -> None:
        self._pattern = re.compile(metadata.national_prefix_for_parsing or _NOTHING)
        self._rule = metadata.national_prefix_transform_rule
        self.digits = "" if self._rule else metadata.national_prefix

    def begins(self, digits: str) -> bool:
        """Whether digits begin with it."""
        return self._pattern.match(digits) is not None

    def without(self, digits: str) -> Iterator[str]:
        """What may be the number behind it, if the digits begin with it."""
        if prefix := self._pattern.match(digits):
            yield digits[prefix.end() :]
            if self._rule:
                yield self._pattern.sub(self._rule, digits, count=1)


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


def _may_be_abroad(digits: str) -> bool | None:
    """Whether digits that begin with a country's code may be a number there; None where they begin with none."""
    for length in range(1, _CODE_DIGITS + 1) if digits[:1] != "0" else ():
        if (code := int(digits[:length] or "0")) in COUNTRY_CODE_TO_REGION_CODE:
            region = region_code_for_country_code(code)
            return region == REGION_CODE_FOR_NON_GEO_ENTITY or plan_of(region).may_be_a_line(digits[length:])
    return None


@cache
def plan_of(region: str) -> NumberingPlan:
    """The plan of one of phonenumbers' regions."""
    return NumberingPlan(region)
