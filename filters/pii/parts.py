"""A recognizer taken apart: the patterns that can count, in groups by what a match of theirs must hold.

A date with slashes opens the gate of five patterns then, not of thirteen.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from headrace.filters.pii.context import raised
from headrace.filters.pii.gate import DIGIT, MONTH
from headrace.filters.pii.recognizers import MAX_SCORE, Finder, LazyPattern, Recognizer

_SLASHES = rf"{DIGIT}/{DIGIT}"
_HYPHENS = rf"{DIGIT}-{DIGIT}{{1,2}}-{DIGIT}"
_DOTS = rf"{DIGIT}\.{DIGIT}{{1,2}}\.{DIGIT}{{2}}"
_HOUR = rf"{DIGIT}T{DIGIT}"
_MONTHS = f"{MONTH}-{DIGIT}|{DIGIT}-{MONTH}"
_IPV4 = r"[0-9]\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9]"
_IPV6 = "::|(?:[0-9A-F]{1,4}:){6}"

# Recognizer → pattern, by Presidio's name for it → what its matches hold. A pattern that is not here has the recognizer's gate.
_NEEDS: Mapping[str, Mapping[str, str]] = {
    "DateRecognizer": {
        "Datetime (yyyy-mm-ddThh:mm[:ss[.f]] with timezone)": _HOUR,
        "mm/dd/yyyy or mm/dd/yy": _SLASHES,
        "dd/mm/yyyy or dd/mm/yy": _SLASHES,
        "yyyy/mm/dd": _SLASHES,
        "mm/yyyy or m/yyyy": _SLASHES,
        "mm/yy or m/yy": _SLASHES,
        "mm-dd-yyyy": _HYPHENS,
        "dd-mm-yyyy": _HYPHENS,
        "yyyy-mm-dd": _HYPHENS,
        "dd.mm.yyyy or dd.mm.yy": _DOTS,
        "dd-MMM-yyyy or dd-MMM-yy": _MONTHS,
        "MMM-yyyy or MMM-yy": _MONTHS,
        "dd-MMM or dd-MMM": _MONTHS,
    },
    "IpRecognizer": {
        "IPv4": _IPV4,
        "IPv4_mapped": _IPV6,
        "IPv4_embedded": _IPV6,
        "IPv6": _IPV6,
        "IPv6_unspecified": _IPV6,
    },
    "MacAddressRecognizer": {
        "MAC_COLON_OR_HYPHEN": "(?:[0-9A-F]{2}[:-]){5}[0-9A-F]{2}",
        "MAC_CISCO_DOT": r"[0-9A-F]{4}\.[0-9A-F]{4}\.[0-9A-F]{4}",
    },
    "UsSsnRecognizer": {"SSN5 (medium)": "[0-9]{3}[- .][0-9]{2}[- .][0-9]{4}"},
}


@dataclass(frozen=True, slots=True)
class Part(Recognizer):
    """Patterns of a recognizer whose matches hold one of `needs`."""

    needs: tuple[str, ...] = ()

    @property
    def hints(self) -> tuple[str, ...]:
        return self.needs


def parts(found: Finder, least: float, *, context: bool) -> Iterator[Finder]:
    """What to run for findings that score `least` or more, with or without context words."""
    if not isinstance(found, Recognizer):
        yield found
        return
    counting = replace(found, patterns=_counting(found, least, context=context))
    if type(found) is not Recognizer:
        yield counting
        return
    groups: dict[str, list[LazyPattern]] = {}
    for pattern in counting.patterns:
        groups.setdefault(_NEEDS.get(found.name, {}).get(pattern.name, ""), []).append(pattern)
    for need, patterns in groups.items():
        yield _part(counting, patterns, need) if need else replace(counting, patterns=tuple(patterns), best=_best(found, patterns))


def _counting(found: Recognizer, least: float, *, context: bool) -> tuple[LazyPattern, ...]:
    """The patterns whose matches can reach the score. Where a checksum judges, all can."""
    if found.best >= MAX_SCORE:
        return found.patterns
    raises = context and bool(found.context)
    return tuple(each for each in found.patterns if (raised(each.score) if raises else each.score) >= least)


def _part(of: Recognizer, patterns: Sequence[LazyPattern], need: str) -> Part:
    name = f"{of.name}: {patterns[0].name}"
    return Part(name, of.entity, tuple(patterns), of.validate, of.invalidate, _best(of, patterns), of.context, (need,))


def _best(of: Recognizer, patterns: Sequence[LazyPattern]) -> float:
    """The highest score of a match of one of these patterns, without context words."""
    return of.best if of.best >= MAX_SCORE else max(each.score for each in patterns)
