"""One linear scan that says which recognizers are worth running on a text.

A gate expression is a necessary condition: wherever a recognizer has a match, its gate has one. Gates need not be exact, only cheap
to compile (the recognizers' own patterns take hyperscan seconds, these a quarter of one) and independent of Unicode versions:
`\\b` is left out, and where a pattern takes any digit or word character, the gate takes every character above ASCII.
"""

import re
import threading
from collections.abc import Iterator, Mapping, Sequence

import hyperscan as hs

from headrace.ext_proc.engine.memory import give_back
from headrace.filters.pii.addresses import top_level_domains
from headrace.filters.pii.linear import CLASS
from headrace.filters.pii.recognizers import Finder, Recognizer
from headrace.filters.pii.scanner import Expression, Scanner

_ABOVE = r"\x{80}-\x{10ffff}"
DIGIT = rf"[0-9{_ABOVE}]"
MONTH = "(?:JAN|FEB|MAR|APR|MAY|JUN|JUL|AUG|SEP|OCT|NOV|DEC)"

# The four characters whose case folds onto an ASCII letter (İ ı ſ K): the recognizers' engine matches them, hyperscan does not.
_FOLDING = "\u0130\u0131\u017f\u212a"

# phonenumbers: at most four marks between two digits, at least four digits (a German number may be that short).
PHONE_MIN_DIGITS = 4
_PHONE_GATE = rf"{DIGIT}(?:[-x .()\[\]/~{_ABOVE}]{{0,4}}{DIGIT}){{{PHONE_MIN_DIGITS - 1}}}"

_GATES: Mapping[str, Sequence[str]] = {
    "PHONE_NUMBER": [_PHONE_GATE],
    "ZaMobileNumberRecognizer": [_PHONE_GATE],
    "ZaTelephoneNumberRecognizer": [_PHONE_GATE],
    "CreditCardRecognizer": [rf"{DIGIT}(?:[- ]?{DIGIT}){{12}}"],
    "UsBankRecognizer": ["[0-9]{8}"],
    "UsLicenseRecognizer": ["[A-Z][0-9]", "[0-9]{3}[A-Z]", "[0-9]{6}"],
    "UsItinRecognizer": [rf"9{DIGIT}{{2}}[- ]?[5-9]{DIGIT}"],
    "UsPassportRecognizer": ["[0-9]{8}"],
    "UsSsnRecognizer": ["[0-9]{3}[- .]?[0-9]{2}[- .]?[0-9]{4}"],
    "NhsRecognizer": ["[0-9]{3}[- ]?[0-9]{3}[- ]?[0-9]{4}"],
    "CryptoRecognizer": ["(?:bc1|[13])[a-zA-HJ-NP-Z0-9]{25}"],
    "DateRecognizer": [rf"{DIGIT}[/.-](?:{DIGIT}|{MONTH})", f"{MONTH}-{DIGIT}"],
    "EmailRecognizer": ["@"],
    "IbanRecognizer": ["[A-Z]{2}[0-9]{2}(?:[ -]?[A-Z0-9]{4}){2}"],
    "IpRecognizer": [r"[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9]", "(?:[0-9A-F]{1,4}:){2}", "::", ":[0-9A-F]{1,4}:"],
    "MedicalLicenseRecognizer": [rf"[A-Z9]{DIGIT}{{7}}"],
    "MacAddressRecognizer": ["[0-9A-F]{2}[:-][0-9A-F]{2}[:-]", r"[0-9A-F]{4}\.[0-9A-F]{4}\."],
    "UuidRecognizer": ["[0-9A-F]{8}-[0-9A-F]{4}-[0-9A-F]{4}-"],
}
_BASE = hs.HS_FLAG_PREFILTER | hs.HS_FLAG_UTF8 | hs.HS_FLAG_CASELESS
# What the patterns of recognizers are compiled with, as Presidio does.
_OWN = _BASE | hs.HS_FLAG_DOTALL | hs.HS_FLAG_MULTILINE


Places = Sequence[tuple[int, str]]
"""The end of what opens a gate, and the gate's key."""


class Gate:
    """Which of some keys may find something in a text, and where; shared by threads.

    It is compiled on a thread: hyperscan lets go of Python's lock, so that a vocabulary can be loaded meanwhile.

    expressions: key → gate expressions. ascii: key → its own patterns, which say nothing of text beyond ASCII: there the key is
    always among those that may. One of the two holds something.
    """

    def __init__(self, expressions: Mapping[str, Sequence[str]], ascii: Mapping[str, Sequence[str]] | None = None) -> None:
        own = ascii or {}
        flat = [Expression(key, each, _BASE) for key, listed in expressions.items() for each in listed]
        flat += [Expression(key, each, _OWN) for key, listed in own.items() for each in listed]
        self._everything = frozenset(each.key for each in flat)
        self._beyond_ascii = frozenset(own)
        self._scanner = Scanner(flat)
        self._counted: tuple[str, Places] | None = None
        self._error: hs.error | None = None
        self._is_ready = False
        self._compiling = threading.Thread(target=self._compile, name="headrace-gate")
        self._compiling.start()

    def _compile(self) -> None:
        try:
            self._scanner.compile()
        except hs.error as error:
            self._error = error
        give_back()  # 10 MB, before anything lasting comes to lie behind it

    def ready(self) -> None:
        """Waits until it is compiled: what is asked of it earlier waits, too. Raises hs.error when that cannot be."""
        self._compiling.join()
        if self._error is not None:
            raise self._error
        self._is_ready = True

    def open(self, text: str) -> frozenset[str]:
        """The keys whose gate opens for `text`."""
        if not self._is_ready:
            self.ready()
        beyond = _NOTHING
        if not text.isascii():
            if _folds(text):
                return self._everything
            beyond = self._beyond_ascii
        keys = self._scanner.keys(_utf8(text))
        return beyond.union(keys) if keys else beyond

    def places(self, text: str) -> Places | None:
        """Where gates open in `text`, in order; None where that is nearly everywhere.

        What opens a gate in a part of the text is among what ends there.
        """
        if not self._is_ready:
            self.ready()
        ends = self._taken(text)
        if not text.isascii() and (self._beyond_ascii or _folds(text)):
            return None
        encoded = _utf8(text)
        if ends is None:
            ends = self._scanner.ends(encoded, _most(text))
        return list(_characters(encoded, ends)) if ends and len(encoded) > len(text) else ends

    def count(self, text: str, most: int) -> int | None:
        """How many places of `text` open a gate; None for more than `most`, and where every gate is open anyway.

        Whoever asks for the places of the same text next is told what was found.
        """
        if not self._is_ready:
            self.ready()
        if _folds(text):
            return None
        ends = self._scanner.ends(_utf8(text), most)
        if ends is None:
            return None
        self._counted = text, ends
        return len(ends)

    def _taken(self, text: str) -> Places | None:
        """The places of `text` if it was the last to be counted, and has few; what was counted is forgotten: no text is kept."""
        counted, self._counted = self._counted, None
        if counted is None or counted[0] is not text or len(counted[1]) > _most(text):
            return None
        return counted[1]


_NOTHING: frozenset[str] = frozenset()
CHARACTERS_A_PLACE = 24
"""With more places than one in so many, most segments have one, and each is asked for itself. A place costs some 0.2 µs."""
_FEW, _MANY = 16, 50_000
"""Places of a short text, and of one that is so long that they take 5 MB."""


def _most(text: str) -> int:
    return min(_FEW + len(text) // CHARACTERS_A_PLACE, _MANY)


def _characters(text: bytes, ends: Places) -> Iterator[tuple[int, str]]:
    """The same places in characters instead of bytes of UTF-8."""
    done = characters = 0
    for end, key in ends:
        characters += len(text[done:end].decode())
        done = end
        yield characters, key


def _folds(text: str) -> bool:
    return any(character in text for character in _FOLDING)


def _utf8(text: str) -> bytes:
    """`text` as UTF-8. A lone surrogate becomes a question mark: like it no letter, no digit, and inside the same classes."""
    try:
        return text.encode()
    except UnicodeEncodeError:
        return text.encode(errors="replace")


def gate_for(recognizers: Sequence[Finder], more: Mapping[str, Sequence[str]] | None = None) -> Gate:
    """The gate for these recognizers, by their names; at least one. more: further keys and their expressions."""
    loose = {each.name: _expressions(each) for each in recognizers if _is_known(each) or not _own(each)}
    own = {each.name: [loosened(gate) for gate in each.gates] for each in recognizers if each.name not in loose}
    return Gate({**loose, **(more or {})}, own)


_TOKEN = re.compile(rf"\\[AbBzZ]|(\\.|{CLASS})|[\^$]", re.DOTALL)


def loosened(pattern: str) -> str:
    """The pattern without `^`, `$`, `\\b` and the like: it matches in a text wherever the pattern matches in a part of it."""
    return _TOKEN.sub(lambda token: token[1] or "", pattern)


_URL = "UrlRecognizer"


def _is_known(recognizer: Finder) -> bool:
    return recognizer.name in _GATES or recognizer.name == _URL or bool(recognizer.hints)


def _own(recognizer: Finder) -> bool:
    """Whether its own patterns may serve as gates: hyperscan can compile them when they are loosened."""
    if any(r"\Q" in each for each in recognizer.gates):  # what stands between \Q and \E is no syntax
        return False
    try:
        for each in recognizer.gates:
            hs.Database(mode=hs.HS_MODE_BLOCK).compile(expressions=[loosened(each).encode()], ids=[0], elements=1, flags=[_OWN])
    except hs.error:
        return False
    return bool(recognizer.gates)


def _expressions(recognizer: Finder) -> Sequence[str]:
    if isinstance(recognizer, Recognizer) and recognizer.name == _URL:
        return [_domain_gate(recognizer)]
    return recognizer.hints or _GATES.get(recognizer.name, ANYTHING)


ANYTHING = (r"[\x00-\x{10ffff}]",)
"""The gate of a recognizer we know nothing about: open for every text."""


def _domain_gate(recognizer: Recognizer) -> str:
    """A dot before a top-level domain, in all patterns alike; else anything."""
    domains = {tuple(top_level_domains(pattern.source)) for pattern in recognizer.patterns}
    if len(domains) != 1 or () in domains:
        return ANYTHING[0]
    return rf"[a-z0-9.\-]\.(?:{'|'.join(domains.pop())})"
