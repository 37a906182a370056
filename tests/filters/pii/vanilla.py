"""The oracle: Presidio's own engine without a model, kept off the network."""

from collections.abc import Mapping
from functools import cache

import tldextract.tldextract
from presidio_analyzer import AnalyzerEngine
from presidio_analyzer.nlp_engine import NoOpNlpEngine, SpacyNlpEngine

Finding = tuple[int, int, str, float]


@cache
def engine() -> AnalyzerEngine:
    tldextract.tldextract.TLD_EXTRACTOR = tldextract.TLDExtract(cache_dir=None, suffix_list_urls=())
    nlp = NoOpNlpEngine([{"lang_code": "en", "model_name": ""}])
    nlp.load()
    return AnalyzerEngine(nlp_engine=nlp)


@cache
def engine_with(package: str) -> AnalyzerEngine:
    """Presidio's engine with a spaCy model that is installed."""
    tldextract.tldextract.TLD_EXTRACTOR = tldextract.TLDExtract(cache_dir=None, suffix_list_urls=())
    nlp = SpacyNlpEngine([{"lang_code": "en", "model_name": package}])
    nlp.load()
    return AnalyzerEngine(nlp_engine=nlp)


def findings(text: str, thresholds: Mapping[str, float] | None = None, default: float = 0.0) -> set[Finding]:
    """What Presidio finds, with these score thresholds per entity. Raises what it raises."""
    found = engine().analyze(text, language="en", score_threshold=0.0 if thresholds else default)
    least = thresholds or {}
    return {
        (each.start, each.end, each.entity_type, each.score) for each in found if each.score >= least.get(each.entity_type, default)
    }
