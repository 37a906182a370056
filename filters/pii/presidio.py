"""Presidio's default recognizers without a model: loaded as its engine loads them, silenced, and kept off the network.

Importing presidio-analyzer costs over a second and 70 MB (it imports spaCy), so this module is imported by the detector's builder
alone, when a policy names the filter.
"""

import logging
from collections.abc import Mapping
from functools import cache

import regex  # type: ignore[import-untyped]
import tldextract
from presidio_analyzer import EntityRecognizer, Pattern, PatternRecognizer
from presidio_analyzer.predefined_recognizers import EmailRecognizer as PresidioEmailRecognizer
from presidio_analyzer.predefined_recognizers import PhoneRecognizer
from presidio_analyzer.recognizer_registry import RecognizerRegistryProvider

from headrace.filters.pii.addresses import EmailRecognizer, UrlRecognizer
from headrace.filters.pii.recognizers import MAX_SCORE, CompiledPattern, IbanRecognizer, Recognizer

LANGUAGE = "en"

# The IBAN recognizer logs candidate text that it cannot convert, and every level tells something of a prompt.
logging.getLogger("presidio-analyzer").setLevel(logging.CRITICAL + 1)

# Presidio's own look-up asks the network for a list of suffixes and keeps it in the user's home; this one is in the package.
_SUFFIXES = tldextract.TLDExtract(cache_dir=None, suffix_list_urls=(), fallback_to_snapshot=True)


@cache
def default_recognizers() -> tuple[EntityRecognizer, ...]:
    """What `AnalyzerEngine(nlp_engine=NoOpNlpEngine(...))` runs for English, in its order."""
    provider = RecognizerRegistryProvider(registry_configuration={"supported_languages": [LANGUAGE]})
    registry = provider.create_recognizer_registry()
    return tuple(found for found in registry.recognizers if found.supported_language == LANGUAGE)


@cache
def phone_regions() -> tuple[str, ...]:
    """The regions whose national numbers Presidio looks for; empty when it looks for none."""
    return next((tuple(found.supported_regions) for found in default_recognizers() if isinstance(found, PhoneRecognizer)), ())


PHONE_ENTITY = "PHONE_NUMBER"
PHONE_SCORE = float(PhoneRecognizer.SCORE)


@cache
def pattern_recognizers() -> tuple[Recognizer, ...]:
    """The default recognizers that are regexes with a checksum: all but the phone recognizer."""
    return tuple(_compiled(found) for found in default_recognizers() if isinstance(found, PatternRecognizer))


_KINDS: Mapping[str, type[Recognizer]] = {
    "EmailRecognizer": EmailRecognizer,
    "IbanRecognizer": IbanRecognizer,
    "UrlRecognizer": UrlRecognizer,
}
"""Presidio's class name → how it is run, where that is not simply `Recognizer`."""


def _compiled(found: PatternRecognizer) -> Recognizer:
    listed: list[Pattern] = found.patterns  # type: ignore[has-type]  # Presidio annotates it by assignment only
    patterns = tuple(_pattern(each, found.global_regex_flags or 0) for each in listed)
    judged = type(found).validate_result is not PatternRecognizer.validate_result
    name = type(found).__name__
    return _KINDS.get(name, Recognizer)(
        name=name,
        entity=found.supported_entities[0],
        patterns=patterns,
        validate=_has_public_suffix if isinstance(found, PresidioEmailRecognizer) else found.validate_result,
        invalidate=found.invalidate_result,
        best=MAX_SCORE if judged else max(pattern.score for pattern in patterns),
    )


def _pattern(pattern: Pattern, flags: int) -> CompiledPattern:
    return CompiledPattern(pattern.name, regex.compile(pattern.regex, flags), float(pattern.score))


def _has_public_suffix(found: str) -> bool:
    """EmailRecognizer.validate_result with the suffix list of the package."""
    return _SUFFIXES(found).fqdn != ""
