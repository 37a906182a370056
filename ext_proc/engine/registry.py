"""Finding and building filters: the entry-point group `headrace.filters`, and what a filter's constructor is given."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, ClassVar, Protocol

from headrace.ext_proc.core.errors import HeadraceError
from headrace.ext_proc.core.ports import Clock, Offload, Store
from headrace.ext_proc.core.session import Filter
from headrace.ext_proc.engine.load.board import Board
from headrace.ext_proc.engine.load.latency import Latency
from headrace.ext_proc.engine.policy.catalogue import Catalogue
from headrace.ext_proc.engine.policy.models import PolicyDocument
from headrace.ext_proc.engine.policy.problems import PolicyErrors, Where, suggestion
from headrace.ext_proc.engine.ratios import Ratios
from headrace.ext_proc.engine.settings import FilterSettings

GROUP = "headrace.filters"
PACKAGE = "headrace"

METRICS_MS = 250
"""Milliseconds between two readings of a server's metrics: a prompt of average length is computed in that time."""


class FilterError(HeadraceError):
    """A filter that cannot be found, loaded or built; the message is for the operator."""


@dataclass(frozen=True, slots=True)
class Ports:
    """What filters reach the outside through. A constructor keeps them and calls none of them."""

    store: Store
    clock: Clock
    offload: Offload
    load: Board = field(default_factory=lambda: Board(METRICS_MS))
    latency: Latency = field(default_factory=Latency)
    ratios: Ratios = field(default_factory=Ratios)


@dataclass(frozen=True, slots=True)
class Build:
    """What a filter's constructor is given besides its settings.

    at: where its settings stand in the document; problem: takes a place in the document and what is wrong there, and what would
    be right. A policy with a problem is never used, so a constructor that reported one may leave itself half built. remark: the
    same of what works, and hardly as it was meant.
    """

    document: PolicyDocument
    catalogue: Catalogue
    base: Path
    ports: Ports
    at: Where
    problem: Callable[[Where, str], None]
    files: set[Path]
    remark: Callable[[Where, str], None] = lambda _where, _message: None

    def file(self, where: Where, name: str) -> Path | None:
        """The file the document names at `where`, relative to the policy's directory; a reload follows its changes.

        None when it cannot be read; that is reported.
        """
        path = self.base / name
        self.files.add(path)
        try:
            with path.open("rb"):
                return path
        except OSError as error:
            self.problem(where, f"cannot read {path}: {error.strerror}")
            return None


class FilterClass(Protocol):
    """What an entry point of the group names."""

    name: ClassVar[str]
    Settings: ClassVar[type[FilterSettings]]

    def __call__(self, settings: Any, build: Build) -> Filter: ...


class Registry:
    """The filters that may be named in a policy. A filter's module is imported when the policy names it, not before."""

    def __init__(self, found: Iterable[EntryPoint]) -> None:
        self._found: dict[str, list[EntryPoint]] = {}
        for entry in found:
            self._found.setdefault(entry.name, []).append(entry)
        self._loaded: dict[str, FilterClass] = {}

    @classmethod
    def installed(cls) -> "Registry":
        """Every filter of the packages installed here."""
        return cls(entry_points(group=GROUP))

    @classmethod
    def own(cls) -> "Registry":
        """Those of this package."""
        return cls(_own_entries())

    @property
    def names(self) -> tuple[str, ...]:
        """Names of filters, in alphabetical order."""
        return tuple(sorted(self._found))

    def load(self, name: str) -> FilterClass:
        """The class of filter `name`. Raises FilterError when it is unknown, ambiguous or broken."""
        if name not in self._loaded:
            self._loaded[name] = _imported(self._only(name))
        return self._loaded[name]

    def _only(self, name: str) -> EntryPoint:
        found = {entry.value: entry for entry in self._found.get(name, ())}
        if not found:
            raise FilterError(f"there is no filter {name!r}; {suggestion(name, self._found)}")
        if len(found) > 1:
            raise FilterError(f"filter {name!r} is registered more than once, as {' and '.join(sorted(found))}; uninstall one")
        return next(iter(found.values()))


@cache
def _own_entries() -> Sequence[EntryPoint]:
    """Looked up once: what importlib.metadata remembers meanwhile, and replaces, is cycles."""
    return [entry for entry in entry_points(group=GROUP) if entry.dist is not None and entry.dist.name == PACKAGE]


def _imported(entry: EntryPoint) -> FilterClass:
    with third_party(f"filter {entry.name!r} ({_origin(entry)}) cannot be loaded"):
        cls = entry.load()
    settings = getattr(cls, "Settings", None)
    if not (isinstance(cls, type) and isinstance(settings, type) and issubclass(settings, FilterSettings)):
        raise FilterError(f"filter {entry.name!r} ({_origin(entry)}) is no class with Settings derived from FilterSettings")
    if getattr(cls, "name", None) != entry.name:
        raise FilterError(f"filter {entry.name!r} ({_origin(entry)}) calls itself {getattr(cls, 'name', None)!r}")
    filter_class: FilterClass = cls  # type: ignore[assignment]  # checked above
    return filter_class


def _origin(entry: EntryPoint) -> str:
    return f"{entry.value} of {entry.dist.name} {entry.dist.version}" if entry.dist else entry.value


@contextmanager
def third_party(what: str) -> Iterator[None]:
    """Turns whatever code of another package raises into a FilterError that says `what`: it must not end the service.

    PolicyErrors pass: they say themselves what is wrong with which file.
    """
    try:
        yield
    except PolicyErrors:
        raise
    except (Exception, SystemExit) as error:
        raise FilterError(f"{what}: {type(error).__name__}: {error}") from error


def settings_by_name(registry: Registry) -> Mapping[str, type[FilterSettings]]:
    """The settings model of every installed filter. Raises FilterError for one that is broken."""
    return {name: registry.load(name).Settings for name in registry.names}
