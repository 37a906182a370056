"""What must hold between who calls, as the policy's sources of identity can tell, and the parts that are for some callers."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, get_args

from headrace.ext_proc.engine.policy.catalogue import covers
from headrace.ext_proc.engine.policy.models import ApiKeysSource, GatewaySource, HeadersSource, JwtSource, Override, PolicyDocument
from headrace.ext_proc.engine.policy.problems import Where, suggestion
from headrace.ext_proc.engine.policy.values import PrincipalField

Found = Iterator[tuple[Where, str]]


def named(document: PolicyDocument) -> frozenset[str]:
    """The fields that are known of a caller. Everybody has an organisation, and every request a model."""
    return told(document) | {"organisation", "model"}


def told(document: PolicyDocument) -> frozenset[str]:
    """The fields of a caller that some source can tell."""
    found: set[str] = set()
    for source in document.identity:
        match source:
            case ApiKeysSource() | GatewaySource():
                found |= set(get_args(PrincipalField))
            case JwtSource(jwt=jwt):
                found |= set(jwt.claims)
            case HeadersSource(headers=headers):
                found |= set(headers)
    return frozenset(found)


def budgets_are_per_what_is_known(document: PolicyDocument) -> Found:
    """Without any source that is said otherwise, once."""
    known = named(document)
    for index, budget in enumerate(document.budgets if document.identity else ()):
        for place, level in enumerate(budget.per):
            if level not in known:
                message = f"no source under identity tells the {level}, so that all callers would share one counter; {_told(known)}"
                yield ("budgets", index, "per", place), message


def overrides_are_for_known_callers(document: PolicyDocument) -> Found:
    known = named(document)
    for index, override in enumerate(document.overrides if document.identity else ()):
        for field in override.when:
            if field not in known:
                message = f"never reached: no source under identity tells the {field}; {_told(known)}"
                yield ("overrides", index, "when", field), message


def _told(known: frozenset[str]) -> str:
    """Of what is known, what a source told."""
    return suggestion("", known - {"organisation", "model"})


def overrides_have_an_effect(document: PolicyDocument) -> Found:
    """One whose every setting a later one sets again, for all of its callers, might as well not be there."""
    for index, override in enumerate(document.overrides):
        left = {(name, key) for name, settings in override.set.items() for key in settings}
        for later in range(index + 1, len(document.overrides)):
            other = document.overrides[later]
            if _concerns_all(other, override):
                left -= {(name, key) for name, settings in other.set.items() for key in settings}
            if not left:
                message = f"never reached: overrides[{later}] concerns the same callers and sets the same; later ones win"
                yield ("overrides", index), message
                break


def _concerns_all(wide: Override, narrow: Override) -> bool:
    """Whether every caller whom `narrow` concerns is one whom `wide` concerns."""
    return all(
        field in narrow.when and all(any(covers(glob, name) for glob in _globs(wide, field)) for name in _globs(narrow, field))
        for field in wide.when
    )


def _globs(override: Override, field: Any) -> Sequence[str]:
    when: Mapping[Any, str | Sequence[str]] = override.when
    value = when[field]
    return (value,) if isinstance(value, str) else value


CALLERS: Sequence[Callable[[PolicyDocument], Found]] = (
    budgets_are_per_what_is_known,
    overrides_are_for_known_callers,
)
