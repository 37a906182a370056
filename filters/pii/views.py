"""Text that is written in another way, read as it is meant, with the way back: the layer `decode`.

One view has percent-encoding, HTML entities and escapes resolved, compatibility forms (full-width letters, no-break spaces,
dashes of numbers) and digits of other scripts folded, and invisible characters left out, also where they come of an encoding.
Every run of base64 that holds text is a view of its own; a finding in it is the whole run, because nothing less can be
replaced. What is written in another way within it is read, too.
"""

import html
import re
import unicodedata
from base64 import b64decode
from binascii import Error
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from typing import NamedTuple
from urllib.parse import unquote

from headrace.filters.pii.spans import Span

_INVISIBLE = "\u00ad\u034f\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f\ufe00-\ufe0f\ufeff"
_BLANK = "\u00a0\u2000-\u200a\u202f\u205f\u3000"
_DASH = "\u2010-\u2015\u2212"
_FOLDED = "\u00b2\u00b3\u00b9\u2070-\u209c\u2460-\u24ff\ufe50-\ufe6f\uff01-\uffee\U0001d400-\U0001d7ff\U000e0020-\U000e007f"
# Of the scripts of the Basic Multilingual Plane that have digits of their own: zero, from Arabic's to Meetei Mayek's.
_ZEROS = (
    *(0x660, 0x6F0, 0x7C0, 0x966, 0x9E6, 0xA66, 0xAE6, 0xB66, 0xBE6, 0xC66, 0xCE6, 0xD66, 0xDE6, 0xE50, 0xED0, 0xF20, 0x1040),
    *(0x1090, 0x17E0, 0x1810, 0x1946, 0x19D0, 0x1A80, 0x1A90, 0x1B50, 0x1BB0, 0x1C40, 0x1C50, 0xA620, 0xA8D0, 0xA900, 0xA9D0),
    *(0xA9F0, 0xAA50, 0xABF0),
)
_DIGITS = "".join(f"{chr(zero)}-{chr(zero + 9)}" for zero in _ZEROS)
# An address within an address has its percent signs encoded, and a page within a page its ampersands: any number of times.
_PERCENT = r"(?:%(?:25)*[0-9A-Fa-f]{2})+"
_ENTITY = r"&(?:amp;)*(?P<named>\#[0-9]{1,7}|\#[xX][0-9A-Fa-f]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});"
_PERCENT_AGAIN = re.compile(r"%(?:25)+(?=[0-9A-Fa-f]{2})")
# Any number of backslashes: JSON that stands in JSON has its escapes escaped.
_ESCAPE = r"(?<!\\)\\++(?:u[0-9A-Fa-f]{4}|x[0-9A-Fa-f]{2}|[bfnrt])"
_BLANKS = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_ODD = re.compile(f"[{_INVISIBLE}{_BLANK}{_DASH}{_FOLDED}{_DIGITS}]")
# French prose has no-break spaces before its marks; beside a digit they part numbers. So do dashes between two.
_PARTS = rf"(?<=\d)[{_BLANK}]|[{_BLANK}](?=\d)|(?<=\d)[{_DASH}](?=\d)"
_WRITTEN = re.compile(
    rf"(?P<percent>{_PERCENT})|(?P<entity>{_ENTITY})|(?P<escape>{_ESCAPE})|[{_INVISIBLE}{_FOLDED}{_DIGITS}]|{_PARTS}"
)
_ESCAPES = re.compile(_ESCAPE)
LEAST_RUN = 20
"""Characters. Shorter runs of base64 are not decoded: most words are one."""
_BASE64 = re.compile(rf"[A-Za-z0-9+/_\-]{{{LEAST_RUN},}}={{0,2}}")
LEAST_READABLE = 0.95
"""The share of letters, digits, marks and blanks in decoded bytes that makes them text."""

_GATED_BLANK = r"\x{a0}\x{2000}-\x{200a}\x{202f}\x{205f}\x{3000}"
HINTS = (
    r"%[0-9a-f]{2}",
    "&(?:#|[a-z]{2})",
    r"\\[ux][0-9a-f]{2}",
    r"\\[bfnrt]",
    rf"[a-z0-9+/_\-]{{{LEAST_RUN}}}",
    r"[\x{ad}\x{b2}\x{b3}\x{b9}\x{34f}\x{61c}\x{180e}\x{200b}-\x{209c}\x{2460}-\x{24ff}\x{fe00}-\x{fe6f}\x{feff}-\x{ffee}]",
    r"[\x{1d400}-\x{1d7ff}\x{e0020}-\x{e007f}]",
    rf"\d[{_GATED_BLANK}]|[{_GATED_BLANK}]\d",
    "[" + "".join(rf"\x{{{zero:x}}}-\x{{{zero + 9:x}}}" for zero in _ZEROS) + "]",
    r"\d[\x{2010}-\x{2015}\x{2212}]\d",
)
"""Gate expressions: one matches wherever there is a view."""


class View(NamedTuple):
    """`text` as it is meant. starts, ends: where each of its characters stands in the original; None: it is all of start..end."""

    text: str
    start: int
    end: int
    starts: Sequence[int] | None = None
    ends: Sequence[int] | None = None

    def original(self, span: Span) -> Span:
        """A finding in the view at its place in the original."""
        if self.starts is None or self.ends is None:
            return span._replace(start=self.start, end=self.end)
        return span._replace(start=self.starts[span.start], end=self.ends[span.end - 1])


def views(text: str) -> Iterator[View]:
    """The views of a segment that differ from it."""
    if _WRITTEN.search(text):
        yield _plain(text)
    for run in _BASE64.finditer(text):
        if (inner := _decoded(run[0])) is not None:
            yield View(inner, run.start(), run.end())
            yield from (View(deeper.text, run.start(), run.end()) for deeper in views(inner))  # each a quarter shorter


def outside_escapes(text: str, spans: Sequence[Span], meant: Sequence[Span]) -> Sequence[Span]:
    """Findings in a text, without those that begin within an escape where the same is meant behind it: `njane@…` of `\\njane@…`,
    `n-jane@…` of `\\n-jane@…`.
    """
    if not meant or "\\" not in text:
        return spans
    starts: dict[str, list[int]] = {}
    for start, entity in sorted((span.start, span.entity) for span in meant):
        starts.setdefault(entity, []).append(start)
    within = {at: each.end() for each in _ESCAPES.finditer(text) for at in range(each.start() + 1, each.end())}

    def is_meant(span: Span) -> bool:
        behind, own = within.get(span.start), starts.get(span.entity, [])
        return behind is not None and any(start < span.end for start in own[bisect_left(own, behind) :][:1])

    return [span for span in spans if not is_meant(span)]


def holds_text(word: str) -> bool:
    """Whether a run of base64 in `word` does."""
    return any(_decoded(run[0]) is not None for run in _BASE64.finditer(word))


def _plain(text: str) -> View:
    pieces: list[str] = []
    starts: list[int] = []
    ends: list[int] = []
    done = 0
    for written in _WRITTEN.finditer(text):
        start, end = written.span()
        meant = _meant(written)
        pieces += [text[done:start], meant]
        starts += [*range(done, start), *([start] * len(meant))]
        ends += [*range(done + 1, start + 1), *([end] * len(meant))]
        done = end
    pieces.append(text[done:])
    starts += range(done, len(text))
    ends += range(done + 1, len(text) + 1)
    return View("".join(pieces), 0, len(text), starts, ends)


def _meant(written: re.Match[str]) -> str:
    return _ODD.sub(_folded, _resolved(written))


def _resolved(written: re.Match[str]) -> str:
    value = written[0]
    match written.lastgroup:
        case "percent":
            return unquote(_PERCENT_AGAIN.sub("%", value), errors="replace")
        case "entity":
            return html.unescape(f"&{written['named']};")
        case "escape":
            letter = value.lstrip("\\")
            return _BLANKS.get(letter) or chr(int(letter[1:], 16))
    return value


def _folded(odd: re.Match[str]) -> str:
    value = odd[0]
    if 0xE0020 <= ord(value) <= 0xE007E:  # tag characters: invisible letters
        return chr(ord(value) - 0xE0000)
    if unicodedata.category(value) == "Pd" or value == "\u2212":
        return "-"
    if unicodedata.category(value) in ("Cf", "Mn"):
        return ""
    decimal = unicodedata.decimal(value, None)
    return unicodedata.normalize("NFKC", value) if decimal is None else str(decimal)


def _decoded(run: str) -> str | None:
    """The text in a run of base64, or None for anything else: words, keys, images."""
    plain = run.rstrip("=").replace("-", "+").replace("_", "/")
    if len(plain) % 4 == 1:  # cut off, or broken: a character that says six bits of the next byte
        plain = plain[:-1]
    try:
        text = b64decode(plain + "=" * (-len(plain) % 4)).decode()
    except (Error, UnicodeDecodeError):
        return None
    readable = sum(character.isprintable() or character in "\n\r\t" for character in text)
    return text if readable >= LEAST_READABLE * len(text) else None
