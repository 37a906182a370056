"""Findings that source code makes unlikely: the layer `code`.

Presidio's URL pattern takes `self.ca` of `self.call()` for a domain, models take keywords for names. Prose is judged mildly: a
domain has to be one to its end, and a name that stands alone, in small letters or in capitals, has to be a sure one. In code a
domain needs a scheme, and a name has to be written as one. Structured findings (addresses of people and machines, cards, keys)
stand wherever they are.
"""

import re
from collections.abc import Iterator, Sequence

import tldextract

from headrace.filters.pii.spans import Span

_PYTHON = "def|class|import|from|return|elif|else|try|except|finally|raise|assert|while|lambda|yield"
_OTHERS = "public|private|static|const|let|var|function|struct|enum|void"
_MARKS = re.compile(
    r"[\w\])]\(|\)\s*[:;{]|[=!<>]=|\w\s=\s\S|=>|->|::|[{}\[\]|\\]|\w_\w|__|\w\.[a-z_]\w*[(.]|/\*|\*/|<!--|</|[\"'][,:)\]]|&&|;\s*$"
    r"|\b0x[0-9a-fA-F]"
    rf"|^[ \t]*(?:{_PYTHON}|{_OTHERS})\b|^[ \t]*(?:>>>|\.\.\.|#!|//|@\w|\#\s*-)",
    re.MULTILINE,
)
_WORD = re.compile(r"\w+")
WORDS_A_MARK = 6
"""Of prose; code has a mark every second word."""
LEAST_MARKS = 2

_NAMES = frozenset({"PERSON", "LOCATION", "ORGANIZATION", "NRP"})
_FULL_NAME = re.compile(r"[^\W\d_a-z][\w'’\-]*[^\W\d_A-Z][\w'’\-]*(?:[ \t]+[^\W\d_a-z][\w.'’\-]*)+")
SURE_ALONE = 0.9
"""The score of a model that a single word in small letters or in capitals has to reach."""
_WEAK = frozenset({"US_DRIVER_LICENSE", "US_PASSPORT", "US_BANK_NUMBER"})
_CONFIDENT = 0.8
# What is more often the ending of a file's name, or a member's, than a domain; and what members are often asked of.
_ENDINGS = frozenset({"py", "sh", "so", "rs", "pl", "ps", "md", "cc", "zip", "mov", "pub"})
_FILES = _ENDINGS | {"name", "date", "stream", "host", "id", "next", "link"}
_OBJECTS = frozenset({"self", "this", "cls", "os", "sys", "event", "log", "obj", "foo", "module", "super"})
_DOMAIN = re.compile(r"[\w\-]+(?:\.[\w\-]+)+")
_SCHEME = re.compile(r"[\"']?(?:https?://|www\d{0,3}\.)", re.IGNORECASE)

_SUFFIXES = tldextract.TLDExtract(cache_dir=None, suffix_list_urls=(), fallback_to_snapshot=True)


def is_code(text: str) -> bool:
    """Whether a segment reads like source code."""
    marks = sum(1 for _ in _MARKS.finditer(text))
    return marks >= LEAST_MARKS and marks * WORDS_A_MARK >= sum(1 for _ in _WORD.finditer(text))


def plausible(text: str, spans: Sequence[Span]) -> tuple[Span, ...]:
    """`spans` without those that the text around them makes unlikely; domains grow to their end."""
    return tuple(_judged(text, spans, code=is_code(text)))


def _judged(text: str, spans: Sequence[Span], *, code: bool) -> Iterator[Span]:
    for span in spans:
        if span.entity == "URL":
            yield from _url(text, span, spans, code=code)
        elif _stands(text[span.start : span.end], span, code=code):
            yield span


def _stands(value: str, span: Span, *, code: bool) -> bool:
    if code and span.entity in _NAMES:
        return _FULL_NAME.fullmatch(value) is not None
    if code and span.entity in _WEAK:
        return span.score >= _CONFIDENT
    if span.entity in _NAMES and "_" in value:
        return False
    return span.entity != "PERSON" or span.score >= SURE_ALONE or not value.isalpha() or not (value.islower() or value.isupper())


def _url(text: str, span: Span, spans: Sequence[Span], *, code: bool) -> Iterator[Span]:
    if _SCHEME.match(text, span.start) or any(_within(span, each) for each in spans if each.entity != "URL"):
        yield span
        return
    start = span.start + (text[span.start] in "\"'")
    whole = _DOMAIN.match(text, start)
    if whole is None or code or text[start - 1 : start] in ("@", "/", ".", "\\", "_") or text[whole.end() : whole.end() + 1] == "(":
        return
    labels = whole[0].lower().split(".")
    if labels[0] not in _OBJECTS and labels[-1] not in _FILES and _SUFFIXES(whole[0]).fqdn:
        yield span._replace(end=max(span.end, whole.end()))


def _within(inner: Span, outer: Span) -> bool:
    return outer.start <= inner.start and inner.end <= outer.end
