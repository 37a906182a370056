"""E-mail addresses and URLs in linear time: Presidio's own patterns, tried only where they can match.

As they stand, both patterns start at every character and run on as far as they can before they fail, a URL's through 675 domains
at every dot: two kilobytes of dots and letters take a second and a half. Where a match can begin follows from what it must hold,
an `@` before a domain name or a dot before a top-level domain, and both are found in one pass.
"""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from itertools import groupby

import regex  # type: ignore[import-untyped]

from headrace.filters.pii.recognizers import LazyPattern, Recognizer

_FLAGS = regex.IGNORECASE | regex.DOTALL | regex.MULTILINE

# --- e-mail addresses ------------------------------------------------------------------------------------------------------------

# The pieces of Presidio's pattern, which the tests hold together: a local part, which begins at a word's edge and has a dot
# neither first nor last, an @, and labels.
_LOCAL = regex.compile(r"[!#$%&'*+\-/=?^_`{|}~\.\w]+", _FLAGS)
_LOCAL_START = regex.compile(r"\b(?=[!#$%&'*+\-/=?^_`{|}~\w])", _FLAGS)
_DOMAIN = regex.compile(r"@\w+(?:-+\w+)*(?:\.\w+(?:-+\w+)*)+\b", _FLAGS)


class EmailRecognizer(Recognizer):
    """An address is the local part that stands before an @; of one that is long, no part is tried twice."""

    beginnings = ()  # no blank is part of an address

    def matches(self, pattern: LazyPattern, text: str) -> "Iterator[regex.Match[str]]":
        done = 0
        for run in _LOCAL.finditer(text):
            at = run.end()
            if text[at : at + 1] != "@" or text[at - 1] == "." or not _DOMAIN.match(text, at):
                continue
            first = _LOCAL_START.search(text, max(run.start(), done), at)
            match = first and pattern.expression.match(text, first.start())
            if match:
                yield match
                done = match.end()


# --- URLs ------------------------------------------------------------------------------------------------------------------------

_HOST = regex.compile(r"[a-z0-9.\-]+", _FLAGS)
# `(www\d{0,3}[.])?[a-z0-9.\-]{1,253}` before the dot of the top-level domain; `https://` and a quote before that.
_LONGEST_HOST = 260
_LONGEST_START = 9
_STARTS: Mapping[str, "regex.Pattern[str]"] = {
    "Standard Url": regex.compile("https?://", _FLAGS),
    "Quoted URL": regex.compile("[\"']", _FLAGS),
    "Quoted Non-schema URL": regex.compile("[\"']", _FLAGS),
}
_WITHOUT_START = "Non schema URL"
_SCHEME, _QUOTE = ("://", "://"), ('"', "'")
_BEGINNINGS: Mapping[str, Sequence[tuple[str, str]]] = {
    "(?i)(?:https?://)(": [_SCHEME],
    "(?i)[\"\\'](https?://(": [_SCHEME, _QUOTE],
    "(?i)[\"\\']((": [_QUOTE],
}
_LISTED = re.compile(r"\(\?:([a-z]+)\)")


class UrlRecognizer(Recognizer):
    """A URL holds a dot before a top-level domain, so it begins at most a host's length before one."""

    beginnings = ()  # nor of a URL

    def spans(self, pattern: LazyPattern, text: str) -> Iterable[tuple[int, int]]:
        for one, other in _asked(pattern.source):
            if one not in text and other not in text:
                return ()
        return super().spans(pattern, text)

    def matches(self, pattern: LazyPattern, text: str) -> "Iterator[regex.Match[str]]":
        if pattern.name != _WITHOUT_START and pattern.name not in _STARTS:
            yield from super().matches(pattern, text)
        elif dots := [dot.start() for dot in _domain_dots(pattern.source).finditer(text)]:
            starts = _STARTS.get(pattern.name)
            yield from _bare(pattern, text, dots) if starts is None else _started(pattern, text, dots, starts)


@cache
def _asked(pattern: str) -> Sequence[tuple[str, str]]:
    """What the pattern begins with asks for: of each two, one stands in every text that has a match."""
    return next((asked for beginning, asked in _BEGINNINGS.items() if pattern.startswith(beginning)), ())


def _started(pattern: LazyPattern, text: str, dots: Sequence[int], starts: "regex.Pattern[str]") -> "Iterator[regex.Match[str]]":
    """Matches of a pattern that begins with something that is easily found."""
    done = 0
    for start in starts.finditer(text):
        if start.start() < done or not _any_between(dots, start.start(), start.start() + _LONGEST_START + _LONGEST_HOST):
            continue
        if match := pattern.expression.match(text, start.start()):
            yield match
            done = match.end()


def _bare(pattern: LazyPattern, text: str, dots: Sequence[int]) -> "Iterator[regex.Match[str]]":
    """Matches that begin with the host: each as far before the next dot as a host may reach."""
    hosts = [host.start() for host in _HOST.finditer(text)]
    done = 0
    for dot in dots:
        start = max(done, hosts[bisect_right(hosts, dot) - 1], dot - _LONGEST_HOST)
        if start < dot and (match := pattern.expression.search(text, start)):
            yield match
            done = match.end()


def _any_between(ordered: Sequence[int], low: int, high: int) -> bool:
    place = bisect_left(ordered, low)
    return place < len(ordered) and ordered[place] <= high


def top_level_domains(pattern: str) -> Sequence[str]:
    """The domains that Presidio's URL pattern lists, without those that another one begins. Empty for a pattern of another form.

    The pattern does not ask for a word's end after the domain, so that `.com` is found in `.community`.
    """
    listed = frozenset(_LISTED.findall(pattern))
    return sorted(domain for domain in listed if not any(domain[:cut] in listed for cut in range(1, len(domain))))


@cache
def _domain_dots(pattern: str) -> "regex.Pattern[str]":
    """Matches every dot before a top-level domain. Grouped by first letters, because 377 branches cost 4 µs a dot."""
    groups = {first: [each[1:] for each in rest] for first, rest in groupby(top_level_domains(pattern), key=lambda each: each[0])}
    branches = [f"{first}(?:{'|'.join(rest)})" for first, rest in groups.items()]
    return regex.compile(f"[.](?={'|'.join(branches)})", _FLAGS)
