"""Presidio's recognizers that need no model: as its engine would load them, silenced, and kept off the network.

Importing presidio-analyzer costs a quarter of a second and 25 MB, so this module is imported by the detector's builder alone, when
a policy names the filter; and without its engines for language models, which import spaCy: three times as much again.
"""

import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from inspect import isclass
from pathlib import Path
from typing import Any

import regex  # type: ignore[import-untyped]
import yaml  # type: ignore[import-untyped]

from headrace.ext_proc.engine.imports import absent, deferred
from headrace.filters.pii.addresses import EmailRecognizer, UrlRecognizer
from headrace.filters.pii.beginnings import Beginning
from headrace.filters.pii.phone import PhoneFinder
from headrace.filters.pii.recognizers import MAX_SCORE, Finder, IbanRecognizer, LazyPattern, Recognizer
from headrace.filters.pii.spans import Span
from headrace.filters.pii.suffixes import is_public
from headrace.filters.pii.unchecked import unchecked

# What Presidio imports where it is installed, for recognizers that ask a model or a service.
_OTHERS = ("azure", "gliner", "langextract", "torch", "transformers")

with absent(*_OTHERS), deferred("presidio_analyzer.nlp_engine", "presidio_analyzer.input_validation"), unchecked():
    import presidio_analyzer
    from presidio_analyzer import EntityRecognizer, Pattern, PatternRecognizer, predefined_recognizers
    from presidio_analyzer.predefined_recognizers import EmailRecognizer as PresidioEmailRecognizer
    from presidio_analyzer.predefined_recognizers import PhoneRecognizer

LANGUAGE = "en"

# The IBAN recognizer logs candidate text that it cannot convert, and every level tells something of a prompt.
logging.getLogger("presidio-analyzer").setLevel(logging.CRITICAL + 1)

PHONE_ENTITY = "PHONE_NUMBER"


@dataclass(frozen=True, slots=True)
class Listed:
    """A recognizer in Presidio's list.

    country: a code of Presidio's, such as de; None for one of no country. languages: empty for one of any. enabled: Presidio runs
    it unless told otherwise.
    """

    recognizer: EntityRecognizer
    country: str | None
    languages: frozenset[str]
    enabled: bool
    entity: str


@cache
def listed() -> Mapping[str, Listed]:
    """Presidio's class name → every recognizer that needs neither a model nor a service."""
    configured = {each["name"]: each for each in _configuration()["recognizers"] if isinstance(each, dict)}
    classes = {name: cls for name, cls in vars(predefined_recognizers).items() if isclass(cls) and _needs_no_model(cls)}
    found = {name: _listed(cls, configured.get(name, {"enabled": False})) for name, cls in sorted(classes.items())}
    regex.purge()  # Presidio compiled some patterns to see that they can be, and nobody uses those
    return found


@cache
def _configuration() -> Mapping[str, Any]:
    # What RecognizerConfigurationLoader.get() reads with the parser in Python, which takes twenty times as long.
    conf = Path(presidio_analyzer.__file__).parent / "conf" / "default_recognizers.yaml"
    found: Mapping[str, Any] = yaml.load(conf.read_bytes(), Loader=yaml.CSafeLoader)
    return found


def _needs_no_model(cls: type) -> bool:
    return issubclass(cls, PatternRecognizer | PhoneRecognizer) and cls is not PatternRecognizer


def _listed(cls: Any, configured: Mapping[str, object]) -> Listed:
    languages = configured.get("supported_languages") or ()
    assert isinstance(languages, list | tuple)
    names = frozenset(each["language"] if isinstance(each, dict) else each for each in languages)
    country = getattr(cls, "COUNTRY_CODE", None)
    recognizer = cls()
    return Listed(recognizer, country, names, configured.get("enabled", True) is True, str(recognizer.supported_entities[0]))


def countries() -> Collection[str]:
    """The codes of countries that have recognizers of their own."""
    return {each.country for each in listed().values() if each.country is not None}


def languages() -> Collection[str]:
    """The codes of languages that have recognizers of their own."""
    return {language for each in listed().values() for language in each.languages}


def finders(
    languages: Collection[str] = (LANGUAGE,), countries: Collection[str] | None = None, entities: Collection[str] = ()
) -> list[Finder]:
    """What Presidio runs for these languages, of these countries only (None: as Presidio has it); and what finds `entities`.

    A country that is named has all its recognizers run, those too that Presidio leaves out unless told otherwise.
    """
    return [_finder(name) for name, each in listed().items() if each.entity in entities or _runs(each, languages, countries)]


def _runs(each: Listed, languages: Collection[str], countries: Collection[str] | None) -> bool:
    if countries is not None and each.country is not None:
        return each.country in countries
    return each.enabled and (not each.languages or not each.languages.isdisjoint(languages))


@cache
def _finder(name: str) -> Finder:
    recognizer = listed()[name].recognizer
    if type(recognizer) is PhoneRecognizer:
        return PhoneRecognizerFinder(tuple(recognizer.supported_regions), _context(recognizer), float(recognizer.SCORE))
    if isinstance(recognizer, PatternRecognizer):
        return _compiled(recognizer)
    return OtherFinder(recognizer, name, _context(recognizer), float(PhoneRecognizer.SCORE))


def _context(recognizer: EntityRecognizer) -> tuple[str, ...]:
    return tuple(word.lower() for word in recognizer.context or ())


class PhoneRecognizerFinder:
    """Presidio's phone recognizer."""

    name = entity = PHONE_ENTITY
    gates: tuple[str, ...] = ()
    hints: tuple[str, ...] = ()
    beginnings: Sequence[Beginning] | None = ()

    def __init__(self, regions: tuple[str, ...], context: tuple[str, ...], score: float) -> None:
        self.context = context
        self.best = score
        self._finder = PhoneFinder(regions)

    def find(self, text: str) -> Iterator[Span]:
        return (Span(start, end, PHONE_ENTITY, self.best) for start, end in self._finder.find(text))


_NO_ARTIFACTS: Any = None


class OtherFinder:
    """A recognizer of Presidio's that is run as it is."""

    gates: tuple[str, ...] = ()
    hints: tuple[str, ...] = ()
    beginnings: Sequence[Beginning] | None = None

    def __init__(self, recognizer: EntityRecognizer, name: str, context: tuple[str, ...], best: float) -> None:
        self.name = name
        self.entity = str(recognizer.supported_entities[0])
        self.context = context
        self.best = best
        self._recognizer = recognizer

    def find(self, text: str) -> Iterator[Span]:
        for found in self._recognizer.analyze(text, [self.entity], _NO_ARTIFACTS):
            yield Span(found.start, found.end, found.entity_type, float(found.score))


_KINDS: Mapping[str, type[Recognizer]] = {
    "EmailRecognizer": EmailRecognizer,
    "IbanRecognizer": IbanRecognizer,
    "UrlRecognizer": UrlRecognizer,
}
"""Presidio's class name → how it is run, where that is not simply `Recognizer`."""


def _compiled(found: PatternRecognizer) -> Recognizer:
    listed: list[Pattern] = found.patterns  # type: ignore[has-type]  # Presidio annotates it by assignment only
    patterns = tuple(_pattern(each, int(_configuration()["global_regex_flags"])) for each in listed)
    judged = type(found).validate_result is not PatternRecognizer.validate_result
    name = type(found).__name__
    return _KINDS.get(name, Recognizer)(
        name=name,
        entity=found.supported_entities[0],
        patterns=patterns,
        # Presidio's own look-up asks the network for the suffixes.
        validate=is_public if isinstance(found, PresidioEmailRecognizer) else found.validate_result,
        invalidate=found.invalidate_result,
        best=MAX_SCORE if judged else max(pattern.score for pattern in patterns),
        context=_context(found),
    )


def _pattern(pattern: Pattern, flags: int) -> LazyPattern:
    return LazyPattern(pattern.name, pattern.regex, flags, float(pattern.score))
