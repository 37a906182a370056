"""The recognizers there are: Presidio's, ours, and the policy's own, and what of them a plan runs."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.metadata import entry_points

from headrace.ext_proc.engine.policy.problems import Where, suggestion
from headrace.filters.pii.beginnings import Beginning
from headrace.filters.pii.custom import CHECKS, LinearPattern, LinearRecognizer, problems
from headrace.filters.pii.detector import best_scores
from headrace.filters.pii.plan import Plan, Report
from headrace.filters.pii.presidio import countries, finders, languages, listed
from headrace.filters.pii.recognizers import Finder
from headrace.filters.pii.secrets import CARD_IN_CONTEXT, SECRETS
from headrace.filters.pii.settings import PiiSettings, Recognizer
from headrace.filters.pii.spans import Span

GROUP = "headrace.recognizers"
"""Entry points of recognizers in Python. A policy names one of an installed package; it cannot name a module."""


@dataclass(frozen=True, slots=True)
class Offer:
    """default: entities that are looked for where a policy names none. everything: entity → the highest score it can get here."""

    default: Collection[str]
    everything: Mapping[str, float]


def offered(settings: PiiSettings, report: Report) -> Offer:
    """What a policy with these settings may ask for. Reports what is wrong with its own recognizers."""
    context = "context" in settings.layers
    own = list(_custom(settings.recognizers, report))
    run = [*_presidio(settings.languages, settings.countries, ()), *SECRETS, *own]
    every = [*_presidio(settings.languages, settings.countries, {each.entity for each in listed().values()}), *SECRETS, *own]
    return Offer(tuple(best_scores(run)), best_scores(every, context=context))


def finders_of(plan: Plan) -> list[Finder]:
    """The recognizers of a plan that was checked."""
    wanted = {entity for entity, _ in plan.thresholds}
    extra: list[Finder] = [CARD_IN_CONTEXT] if "context" in plan.layers else []
    return [*_presidio(plan.languages, plan.countries, wanted), *SECRETS, *extra, *_custom(plan.recognizers, _no_problem)]


def _presidio(languages: Iterable[str], countries: Iterable[str] | None, entities: Iterable[str]) -> Sequence[Finder]:
    return _run(frozenset(languages), None if countries is None else frozenset(countries), frozenset(entities))


@lru_cache(256)
def _run(languages: frozenset[str], countries: frozenset[str] | None, entities: frozenset[str]) -> Sequence[Finder]:
    """Presidio's list is gone through once for each of the ways in which policies narrow it."""
    return tuple(finders(languages, countries, entities))


def _no_problem(where: Where, message: str) -> None:
    """A policy with a problem is built, too, in order to find the others; it is never used."""


def check_languages(settings: PiiSettings, report: Report) -> None:
    """Reports languages and countries of which Presidio has no recognizers."""
    for index, language in enumerate(settings.languages):
        if language not in languages():
            report(("languages", index), f"Presidio has no recognizers for {language!r}; {suggestion(language, languages())}")
    for index, country in enumerate(settings.countries or ()):
        if country not in countries():
            report(("countries", index), f"Presidio has no recognizers for {country!r}; {suggestion(country, countries())}")


# --- the policy's own ------------------------------------------------------------------------------------------------------------


def _custom(recognizers: Iterable[Recognizer], report: Report) -> Iterator[Finder]:
    for index, each in enumerate(recognizers):
        at: Where = ("recognizers", index)
        wrong = list(problems([pattern.regex for pattern in each.patterns]))
        for number, message in wrong:
            report((*at, "patterns", number, "regex"), message)
        if not (each.patterns or each.deny_list or each.python):
            report(at, "finds nothing: give it patterns, deny_list or python")
        if each.python is not None and each.python not in _installed():
            message = f"no installed package has a recognizer {each.python!r}; {suggestion(each.python, _installed())}"
            report((*at, "python"), message)
        elif not wrong:
            yield from _finders(each, f"policy {index}")


def _finders(each: Recognizer, name: str) -> Iterator[Finder]:
    if each.python is not None:
        yield PythonRecognizer(name, each)
    if each.patterns or each.deny_list:
        yield LinearRecognizer(
            f"{name} patterns",
            each.entity,
            tuple(LinearPattern(pattern.regex, pattern.score) for pattern in each.patterns),
            each.deny_list,
            tuple(word.lower() for word in each.context),
            CHECKS[each.validator] if each.validator else None,
            frozenset(value.casefold() for value in each.allow_list),
        )


@cache
def _installed() -> Mapping[str, object]:
    return {entry.name: entry for entry in entry_points(group=GROUP)}


class PythonRecognizer:
    """A function of an installed package: takes a text, gives (start, end, score) in code points. Called for every segment."""

    gates: tuple[str, ...] = ()
    hints: tuple[str, ...] = ()
    beginnings: Sequence[Beginning] | None = None
    best = 1.0

    def __init__(self, name: str, settings: Recognizer) -> None:
        (entry,) = (each for each in entry_points(group=GROUP) if each.name == settings.python)
        self.name = name
        self.entity = settings.entity
        self.context = tuple(word.lower() for word in settings.context)
        self._allowed = frozenset(value.casefold() for value in settings.allow_list)
        self._find = entry.load()

    def find(self, text: str) -> Iterator[Span]:
        """Raises what the function raises, and ValueError for a finding that is not in the text."""
        for start, end, score in self._find(text):
            if not (0 <= start < end <= len(text) and 0 <= score <= 1):
                raise ValueError(f"{self.name} found {start}:{end} with {score} in a text of {len(text)} characters")
            if text[start:end].casefold() not in self._allowed:
                yield Span(start, end, self.entity, float(score))
