"""The compiled chain: each filter's place, and which settings it has for which caller."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from typing import Any

from headrace.ext_proc.core.principal import ANONYMOUS, PRINCIPAL, Principal
from headrace.ext_proc.core.request import Request
from headrace.ext_proc.core.session import Filter, Link
from headrace.ext_proc.engine.policy.catalogue import is_glob, matcher
from headrace.ext_proc.engine.policy.models import Override
from headrace.ext_proc.engine.settings import FilterSettings

# Each holds a built filter; a policy whose callers fall into more groups than this rebuilds some of them now and then.
REMEMBERED_VARIANTS = 256
# The same callers come again, and a glob is tried in a microsecond.
REMEMBERED_PRINCIPALS = 4096

Combination = tuple[int, ...]
"""Positions, among the overrides of one filter, of those that apply together."""


def link_of(name: str, filter: Filter, settings: FilterSettings) -> Link | None:
    """The link that runs `filter` as its settings say; None when they turn it off."""
    if settings.mode == "off":
        return None
    return Link(name, filter, settings.mode == "shadow", settings.on_error == "open", settings.timeout_ms)


@dataclass(frozen=True, slots=True)
class Scope:
    """Whom an override concerns."""

    tests: tuple[tuple[str, Callable[[str], bool]], ...]
    exact: Mapping[str, frozenset[str]]
    """Fields that are compared with names alone, no globs."""

    @classmethod
    def of(cls, override: Override) -> "Scope":
        globs = {name: (value,) if isinstance(value, str) else tuple(value) for name, value in override.when.items()}
        exact = {str(name): frozenset(values) for name, values in globs.items() if not any(map(is_glob, values))}
        return cls(tuple((name, matcher(values)) for name, values in globs.items()), exact)

    def holds(self, principal: Principal) -> bool:
        """Whether every field given matches; a field the principal does not have matches nothing."""
        return all((value := getattr(principal, name)) is not None and test(value) for name, test in self.tests)

    def may_meet(self, other: "Scope") -> bool:
        """Whether one principal could be in both scopes; True where globs make that unknown."""
        return all(self.exact[name] & other.exact[name] for name in self.exact.keys() & other.exact.keys())


class ByValue:
    """Scopes by a value that their callers have, so that a caller is compared with few of a thousand.

    A scope is kept under its rarest field of names alone. Those that have globs in every field are compared with every caller.
    """

    def __init__(self, scopes: Sequence[Scope]) -> None:
        self._scopes = scopes
        self._loose = [index for index, scope in enumerate(scopes) if not scope.exact]
        self._kept: dict[tuple[str, str], list[int]] = {}
        shared = Counter((name, value) for scope in scopes for name, values in scope.exact.items() for value in values)
        for index, scope in enumerate(scopes):
            if scope.exact:
                rarest = min(scope.exact, key=lambda name: max(shared[name, value] for value in scope.exact[name]))
                for value in scope.exact[rarest]:
                    self._kept.setdefault((rarest, value), []).append(index)
        self._names = sorted({name for name, _ in self._kept})

    def concerning(self, principal: Principal) -> Combination:
        """The scopes that hold for it, in order."""
        kept = (self._kept.get((name, getattr(principal, name)), ()) for name in self._names)
        return tuple(index for index in sorted(chain(self._loose, *kept)) if self._scopes[index].holds(principal))


def combinations(scopes: Sequence[Scope], most: int) -> Sequence[Combination]:
    """Every set of scopes that one principal could be in, the empty one first; breaks off above `most`."""
    found: list[Combination] = [()]
    for index, scope in enumerate(scopes):
        found += [(*others, index) for others in found if all(scope.may_meet(scopes[other]) for other in others)]
        if len(found) > most:
            break
    return found


class Fixed:
    """A place whose settings are the same for everybody."""

    def __init__(self, link: Link | None) -> None:
        self.link = link

    def choose(self, request: Request) -> Link | None:
        return self.link


class Varying:
    """A place that overrides concern: the link depends on the principal.

    build: the link for a combination of overrides. It may raise; that is the engine's to guard, as an error of the filter.
    """

    def __init__(self, scopes: Sequence[Scope], build: Callable[[Combination], Link | None]) -> None:
        self._build = lru_cache(REMEMBERED_VARIANTS)(build)
        self._concerning = lru_cache(REMEMBERED_PRINCIPALS)(ByValue(scopes).concerning)

    def choose(self, request: Request) -> Link | None:
        principal = request.facts.get(PRINCIPAL) or ANONYMOUS
        return self.link(self._concerning(principal))

    def link(self, combination: Combination) -> Link | None:
        """The link for the callers whom exactly these overrides concern."""
        return self._build(combination)


def merged(settings: Mapping[str, Any], *later: Mapping[str, Any]) -> dict[str, Any]:
    """Settings with later ones over them, key by key."""
    result = dict(settings)
    for override in later:
        result |= override
    return result


def same_filter(one: FilterSettings, other: FilterSettings) -> bool:
    """Whether the two differ in nothing but how the engine runs the filter, so that one built filter serves both."""
    engine = set(FilterSettings.model_fields)
    return type(one) is type(other) and one.model_dump(exclude=engine) == other.model_dump(exclude=engine)
