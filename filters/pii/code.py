"""Findings that source code makes unlikely: the layer `code`.

Presidio's URL pattern takes `self.ca` of `self.call()` for a domain, models take keywords for names. Prose is judged mildly: a
domain has to be one to its end, and a name that stands alone, in small letters or in capitals, has to be a sure one. In code a
domain needs a scheme, and a name has to be written as a full one, or to be data: in a string or between tags. The number of an
issue or a page is no postcode anywhere. What has a structure
(addresses of people and machines, cards, keys) stands wherever it is.
"""

import re
from collections.abc import Iterator, Sequence
from functools import cached_property

from headrace.filters.pii.numerals import is_of_a_program
from headrace.filters.pii.places import PLACE
from headrace.filters.pii.spans import Span
from headrace.filters.pii.suffixes import is_public

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

MAIL = "EMAIL_ADDRESS"
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
_QUOTES = ('"', "'")
_MEMBER = re.compile(r":[ ]?[\"']$")
_ENTRY = re.compile(r"[ \t]*-?[ ]?[\w\- ]+:[ ]+")
_KINDS = r"(?:issues?|bugs?|bpo|gh|tickets?|peps?|rfcs?|pp?|pages?|lines?|ports?|vol|volume|version|chapter|section|python)\.?"
_COUNTED = re.compile(rf"(?:#|\b{_KINDS}[ -]#?)$", re.IGNORECASE)
_BACK = 40
"""Characters before a number that may say what it counts."""
_NUMBERED = re.compile(r"\d+(?:[-/.]\d+)*")
_LISTED = re.compile(r"(?:\d+(?:[-/.]\d+)*(?:,[ ]|[ ]and[ ]|,[ ]and[ ]|[ ]or[ ]))*$")
"""Numbers before the last of several: `RFCs 2047 and`."""
_REFERENCE = re.compile(rf"{_KINDS}[ -]?#?\d+(?:[-/.]\d+)*", re.IGNORECASE)
# A word with a capital within: an identifier, but for DeShawn, LaToya, McKenzie and the like.
_PREFIXES = "Mc|Mac|De|Del|Des|Di|Da|Du|La|Le|Lo|Van|Von|Fitz|Jo|Ja|Ka|Ke|Ra|Sha|Ta|Ty|St|O|D|Al|El|Abu|Ann|Anne|Jean|Mary"
_IDENTIFIER = re.compile(rf"(?!(?:{_PREFIXES})(?:[A-Z][a-z]+|[A-Z]+)$)[A-Za-z]*(?:[a-z][A-Z]|[A-Z]{{2}}[a-z])[A-Za-z]*")
# A member, which a model may take for a mail address (`self._name`), and names that are counted, for places (`dir2`; a postcode
# has fewer letters before its digits).
_MEMBER_OF = re.compile(r"(?:[A-Za-z_]\w*\.)+_\w+", re.ASCII)
_COUNTED_NAMES = re.compile(r"[a-z]{3,}\d+(?:,? (?:and|or) [a-z]{3,}\d+)*")
# A line of code by itself, however few marks its segment has.
_STATEMENT = re.compile(
    r"\s*(?:from\s+[\w.]+\s+import\b.*|import\s+[\w.]+(?:\s*,\s*[\w.]+)*|(?:global|nonlocal)\s+\w+(?:\s*,\s*\w+)*"
    r"|(?:def|class)\s+\w+.*:|(?:if|elif|while|except)\s+(?:not\s+)?[\w.]+\s*:|for\s+\w+\s+in\s+[\w.]+:)\s*(?:\#.*)?"
)
_COMMENT = re.compile(r"\s*(?:#|//)")
_FILE_ENDING = re.compile(r"\.[A-Za-z]")
_REST_OF_FILE = re.compile(r"[\w\-]*\.[A-Za-z]")
_BESIDE_DATA = frozenset(" \t,.!?:\"'’)-") | {""}
_DOMAIN = re.compile(r"[\w\-]+(?:\.[\w\-]+)+")
_SCHEME = re.compile(r"[\"']?(?:https?://|www\d{0,3}\.)", re.IGNORECASE)


def is_code(text: str) -> bool:
    """Whether a segment reads like source code."""
    marks = sum(1 for _ in _MARKS.finditer(text))
    return marks >= LEAST_MARKS and marks * WORDS_A_MARK >= sum(1 for _ in _WORD.finditer(text))


def plausible(text: str, spans: Sequence[Span]) -> tuple[Span, ...]:
    """`spans` without those that the text around them makes unlikely; domains grow to their end."""
    return tuple(_Judge(text, spans).judged())


class _Judge:
    """Of one segment's findings. Whether the segment is code is found out when it matters: that costs more than all else."""

    def __init__(self, text: str, spans: Sequence[Span]) -> None:
        self._text = text
        self._spans = spans

    @cached_property
    def _code(self) -> bool:
        return is_code(self._text)

    def judged(self) -> Iterator[Span]:
        for span in self._spans:
            if is_of_a_program(self._text, span):
                continue
            if span.entity == "URL":
                yield from self._url(span)
            elif self._stands(span):
                yield span

    def _stands(self, span: Span) -> bool:
        """Of a finding that is no URL."""
        if span.entity in _NAMES:
            return _is_name(self._text, span, code=self._code)
        if span.entity == MAIL:
            return _MEMBER_OF.fullmatch(self._text, span.start, span.end) is None
        return span.entity not in _WEAK or not (_is_unlikely(self._text, span) or (span.score < _CONFIDENT and self._code))

    def _url(self, span: Span) -> Iterator[Span]:
        if _SCHEME.match(self._text, span.start) or any(_within(span, each) for each in self._spans if each.entity != "URL"):
            yield span
        elif (domain := _domain(self._text, span)) is not None and not self._code and is_public(domain[0]):
            yield span._replace(end=max(span.end, domain.end()))


def _is_name(text: str, span: Span, *, code: bool) -> bool:
    value = text[span.start : span.end]
    if "_" in value or _FILE_ENDING.match(value) or _IDENTIFIER.fullmatch(value):
        return False
    line = _line_around(text, span)
    if line[0].endswith("/") and _REST_OF_FILE.match(line[1]):
        return False
    if span.entity == PLACE and (
        _is_reference(text, span) or _is_count(value, line[0], code=code) or _COUNTED_NAMES.fullmatch(value)
    ):
        return False
    if code or _STATEMENT.fullmatch(value.join(line)):
        return _FULL_NAME.fullmatch(value) is not None or _is_data(text, span)
    if value.islower() and is_code(value.join(line)):
        return False
    if text[span.end : span.end + 1] == "(":
        return False
    return span.entity != "PERSON" or span.score >= SURE_ALONE or not value.isalpha() or not (value.islower() or value.isupper())


def _is_count(value: str, before: str, *, code: bool) -> bool:
    """Whether a place without a letter is a number in code, in a comment or in a list: a postcode stands in an address."""
    if any(map(str.isalpha, value)):
        return False
    held = _MEMBER.search(before) or _ENTRY.fullmatch(before) or before.endswith(">")
    return "," in value or _COMMENT.match(before) is not None or (code and not held)


def _is_data(text: str, span: Span) -> bool:
    """Whether it stands where data does: `"city": "Leeds"`, `<city>Leeds</city>`, `city: Leeds`.

    In small letters or in capitals it has to be all of a member's value, and a sure one.
    """
    before, after = _line_around(text, span)
    value = text[span.start : span.end]
    if value.islower() or value.isupper():
        return span.score >= SURE_ALONE and bool(_MEMBER.search(before)) and after[:1] in _QUOTES
    if any(quote in before and quote in after for quote in _QUOTES):
        return after[:1] in _BESIDE_DATA
    if _ENTRY.fullmatch(before):
        return True
    return before.rfind(">") > before.rfind("<") and "<" in after


def _line_around(text: str, span: Span) -> tuple[str, str]:
    """What stands before the finding in its line, and what stands behind it."""
    end = text.find("\n", span.end)
    return text[text.rfind("\n", 0, span.start) + 1 : span.start], text[span.end : end if end >= 0 else len(text)]


def _is_unlikely(text: str, span: Span) -> bool:
    """Whether the word it begins or ends with goes on (`2s256` in `blake2s256`, forty digits of fifty), or counts something."""
    return _is_reference(text, span) or text[span.start - 1 : span.start].isalnum() or text[span.end : span.end + 1].isalnum()


def _is_reference(text: str, span: Span) -> bool:
    """Whether it is the number of something that is counted: #4711, issue 4711, PEP 8, pp. 87-88."""
    if _REFERENCE.fullmatch(text, span.start, span.end):
        return True
    if not _NUMBERED.fullmatch(text, span.start, span.end):
        return False
    before = text[max(0, span.start - _BACK) : span.start]
    first = _LISTED.search(before)
    return _COUNTED.search(before, 0, first.start() if first else len(before)) is not None


def _domain(text: str, span: Span) -> re.Match[str] | None:
    """The whole of what a URL without a scheme begins, unless it is part of a path or an address, a member or a file."""
    start = span.start + (text[span.start] in "\"'")
    whole = _DOMAIN.match(text, start)
    if whole is None or text[start - 1 : start] in ("@", "/", ".", "\\", "_") or text[whole.end() : whole.end() + 1] == "(":
        return None
    labels = whole[0].lower().split(".")
    return None if labels[0] in _OBJECTS or labels[-1] in _FILES else whole


def _within(inner: Span, outer: Span) -> bool:
    return outer.start <= inner.start and inner.end <= outer.end
