"""What a policy's settings ask the detector for, checked, and the detector that does it."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

from headrace.ext_proc.engine.policy.problems import Where, suggestion
from headrace.filters.pii.cutter import WORDS, Size
from headrace.filters.pii.memo import MemoDetector
from headrace.filters.pii.models.names import NONE, Model, UnknownModel, default_models, entities_of, model_of
from headrace.filters.pii.models.pool import ModelUnusable, pool_for
from headrace.filters.pii.settings import PiiSettings, Recognizer
from headrace.filters.pii.spans import DetectionTimeout, LongTexts

if TYPE_CHECKING:
    from headrace.filters.pii.detector import PatternDetector
    from headrace.filters.pii.naming import NamingDetector

Report = Callable[[Where, str], None]
"""Takes a place in the settings and what is wrong there, and what would be right."""

log = logging.getLogger(__name__)

# What is looked for by default where a model finds it.
NAMED = ("PERSON", "LOCATION", "ORGANIZATION")
# What a model is believed of without being asked for it by name. Its other labels guess at numbers that patterns know better.
_BELIEVED = frozenset({*NAMED, "PHONE_NUMBER", "EMAIL_ADDRESS", "URL", "US_DRIVER_LICENSE"})
# The highest score a model gives.
_BEST = 1.0


@dataclass(frozen=True, slots=True)
class Plan:
    """thresholds: entity and the score a finding must reach, in alphabetical order. models: the best first, in so many processes.

    named: the entities that models are believed of. allowed: values, folded, that are no findings. words: of a segment, at most.
    """

    thresholds: tuple[tuple[str, float], ...]
    models: tuple[Model, ...] = ()
    named: frozenset[str] = frozenset()
    recognizers: tuple[Recognizer, ...] = ()
    languages: frozenset[str] = frozenset({"en"})
    countries: frozenset[str] | None = None
    layers: frozenset[str] = frozenset()
    allowed: frozenset[str] = frozenset()
    processes: int = 1
    words: int = WORDS


def plan(settings: PiiSettings, base: Path, report: Report) -> Plan:
    """What the settings of a policy in `base` ask for. Reports models that are missing, and entities that nothing here finds."""
    from headrace.filters.pii.offer import check_languages, offered  # imports Presidio

    check_languages(settings, report)
    models = _models(settings, base, report)
    offer = offered(settings, report)
    named = {entity for model, at in models for entity in _entities(model, report, at)}
    believed = named & (_BELIEVED | set(settings.entities or ()))
    best = {**offer.everything, **dict.fromkeys(believed, _BEST)}
    for index, entity in enumerate(settings.entities or ()):
        _check_entity(entity, best, settings, report, ("entities", index))
    wanted = settings.entities or (*offer.default, *(entity for entity in NAMED if entity in named))
    _check_named(settings, best, report)
    for entity in settings.thresholds:
        if entity in best and entity not in (*wanted, *offer.default):
            report(("thresholds", entity), f"{entity} is not looked for; name it in entities")
    thresholds = {entity: settings.thresholds.get(entity, settings.min_score) for entity in wanted if entity in best}
    found = Plan(
        tuple(sorted(thresholds.items())),
        recognizers=settings.recognizers,
        languages=frozenset(settings.languages),
        countries=frozenset(settings.countries) if settings.countries is not None else None,
        layers=frozenset(settings.layers),
        allowed=frozenset(value.casefold() for value in settings.allow_list),
        words=settings.held_words,
    )
    # A model is for what no pattern finds: a policy that asks for nothing of that kind does not pay for one.
    if settings.entities and all(offer.everything.get(entity, 0.0) >= least for entity, least in thresholds.items()):
        return found
    return replace(found, models=tuple(model for model, _ in models), processes=settings.model_processes, named=frozenset(believed))


# The suffix list and the telephone numbers of each region are read when they are first needed: 25 ms that no request should pay.
_WARM_UP = "a@example.com +1 415-555-2671 030 123456 020 7946 0123"
_WARMED = frozenset({"EmailRecognizer", "UrlRecognizer", "PHONE_NUMBER"})


@lru_cache(maxsize=8)
def detector_for(plan: Plan) -> MemoDetector:
    """Shared by policy revisions, and by overrides that change something else: building one takes a quarter of a second."""
    from headrace.filters.pii.long_texts.patterns import PatternsOfLongTexts, search_process

    return MemoDetector(detector_of(plan, PatternsOfLongTexts(plan, search_process())))


def detector_of(plan: Plan, long_texts: LongTexts | None = None) -> "PatternDetector | NamingDetector":
    """The plan's, without a memory. Its models are loaded when they are first asked."""
    from headrace.filters.pii.layers import layers_of
    from headrace.filters.pii.naming import NamingDetector

    patterns = patterns_of(plan, long_texts)
    if not plan.models:
        return patterns
    named = {entity: least for entity, least in plan.thresholds if entity in plan.named}
    layers = layers_of(plan.layers, plan.allowed)
    return NamingDetector(patterns, pool_for(plan.models, plan.processes), named, layers)


def patterns_of(plan: Plan, long_texts: LongTexts | None = None) -> "PatternDetector":
    """The plan's patterns; where it has models, without what is done to all findings at the end."""
    from headrace.filters.pii.detector import PatternDetector  # imports Presidio
    from headrace.filters.pii.layers import layers_of
    from headrace.filters.pii.offer import finders_of

    context, decode = "context" in plan.layers, "decode" in plan.layers
    layers = () if plan.models else layers_of(plan.layers, plan.allowed)
    of, size = finders_of(plan), Size(plan.words)
    patterns = PatternDetector(
        dict(plan.thresholds), of, context=context, decode=decode, layers=layers, size=size, long_texts=long_texts
    )
    if plan.recognizers:  # whether they compile all together is not known before
        patterns.ready()
    patterns.rehearse(_WARM_UP, _WARMED)
    return patterns


def warm(plan: Plan) -> None:
    """Loads the plan's models. One that cannot be loaded is logged here, and fails the searches that need it."""
    if plan.models:
        try:
            pool_for(plan.models, plan.processes).load()
        except (ModelUnusable, DetectionTimeout) as error:
            log.error("model cannot be loaded", extra={"models": [model.name for model in plan.models], "error": str(error)})


# --- models --------------------------------------------------------------------------------------------------------------------


def _models(settings: PiiSettings, base: Path, report: Report) -> Sequence[tuple[Model, Where]]:
    """The models of the settings, each with its place in them. Reports those that are not here."""
    if settings.model is None:
        return [(model, ("model",)) for name in default_models() if (model := _model(name, base, report, ("model",)))]
    if isinstance(settings.model, str):
        named: Sequence[tuple[str, Where]] = [(settings.model, ("model",))]
    else:
        named = [(name, ("model", index)) for index, name in enumerate(settings.model)]
    return [(model, at) for name, at in named if name != NONE and (model := _model(name, base, report, at))]


def _model(name: str, base: Path, report: Report, at: Where) -> Model | None:
    try:
        return model_of(name, base)
    except UnknownModel as error:
        report(at, str(error))
        return None


def _entities(model: Model, report: Report, at: Where) -> Sequence[str]:
    try:
        return entities_of(model)
    except UnknownModel as error:
        report(at, str(error))
        return ()


# --- entities ------------------------------------------------------------------------------------------------------------------

# What Presidio's NLP recognizers report; they have no patterns.
_OF_A_MODEL = frozenset({"PERSON", "LOCATION", "NRP", "ORGANIZATION", "FACILITY", "AGE"})


def _check_named(settings: PiiSettings, best: Mapping[str, float], report: Report) -> None:
    """Of entities that are named elsewhere than in `entities`, those that cannot be found: an action for one would do nothing."""
    for at, entity in _named(settings):
        if entity not in best:
            report(at, _unknown(entity, best))
    for index, each in enumerate(settings.recognizers):
        if settings.entities is None and each.entity in best:
            _check_entity(each.entity, best, settings, report, ("recognizers", index, "entity"))


def _named(settings: PiiSettings) -> Iterator[tuple[Where, str]]:
    yield from ((("thresholds", entity), entity) for entity in settings.thresholds)
    yield from ((where, where[-1]) for where in acted_on(settings))


def acted_on(settings: PiiSettings) -> Iterator[tuple[str, str]]:
    """The entities of which the settings say that something is done with them: direction and entity."""
    for direction, actions in (("request", settings.request), ("response", settings.response)):
        for entity, action in actions.items() if isinstance(actions, dict) else ():
            if entity != "default" and action != "off":
                yield direction, entity


def check_looked_for(settings: PiiSettings, found: Plan, remark: Report) -> None:
    """What is said of entities that `entities` does not have, to no effect."""
    looked_for = dict(found.thresholds)
    own = ((("recognizers", index, "entity"), each.entity) for index, each in enumerate(settings.recognizers))
    for where, entity in [*((where, where[-1]) for where in acted_on(settings)), *own]:
        if entity not in looked_for:
            remark(where, f"{entity} is not looked for, so this does nothing; name it in entities, or take this away")


_UNMEANT: Final = {"\b": r"\b", "\u2029": r"\P"}
"""What YAML makes of a regular expression's words in double quotes; hardly any text has it."""


def check_quotes(settings: PiiSettings, remark: Report) -> None:
    for index, recognizer in enumerate(settings.recognizers):
        for place, pattern in enumerate(recognizer.patterns):
            if found := next((word for made, word in _UNMEANT.items() if made in pattern.regex), None):
                message = f"finds next to nothing: in double quotes {found} is a character of YAML's; use single quotes"
                remark(("recognizers", index, "patterns", place, "regex"), message)


def check_lists(settings: PiiSettings, remark: Report) -> None:
    lists: list[tuple[Where, Sequence[str]]] = [(("allow_list",), settings.allow_list)]
    for index, recognizer in enumerate(settings.recognizers):
        lists += [(("recognizers", index, name), getattr(recognizer, name)) for name in ("allow_list", "deny_list")]
    for where, words in lists:
        for place, word in enumerate(words):
            if "*" in word:
                remark(
                    (*where, place),
                    f"{word!r} is read as it stands, not as a glob; write the values, or a recognizer with patterns",
                )


def _check_entity(entity: str, best: Mapping[str, float], settings: PiiSettings, report: Report, at: Where) -> None:
    if entity not in best:
        report(at, _unknown(entity, best))
        return
    least = settings.thresholds.get(entity, settings.min_score)
    if best[entity] < least:
        message = (
            f"{entity} never scores above {best[entity]:g} without a model, so {least:g} hides every finding; "
            f"set thresholds: {{{entity}: {best[entity]:g}}} or leave it out"
        )
        report(at, message)


def _unknown(entity: str, known: Mapping[str, float]) -> str:
    if entity in _OF_A_MODEL:
        return f"{entity} is found by a language model only, and none that finds it is set; model: rampart, or spacy:<package>"
    return f"{entity!r} is nothing that a recognizer here finds; {suggestion(entity, known)}"
