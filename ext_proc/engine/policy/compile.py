"""A policy file to a frozen Policy, or to everything that is wrong with it."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headrace.ext_proc.core.session import Choice, Filter, Link
from headrace.ext_proc.engine.load.watching import Watching
from headrace.ext_proc.engine.policy.catalogue import Catalogue
from headrace.ext_proc.engine.policy.chain import Combination, Fixed, Scope, Varying, combinations, link_of, merged, same_filter
from headrace.ext_proc.engine.policy.destinations import Destination, destinations_of
from headrace.ext_proc.engine.policy.files import check_files
from headrace.ext_proc.engine.policy.gateways import Gateway, beyond
from headrace.ext_proc.engine.policy.lines import MAX_BYTES, Located, parse, read_bytes
from headrace.ext_proc.engine.policy.models import Override, PolicyDocument
from headrace.ext_proc.engine.policy.paths import OtherPaths
from headrace.ext_proc.engine.policy.problems import PolicyErrors, Problem, Where, spelled
from headrace.ext_proc.engine.policy.remarks import REMARKS
from headrace.ext_proc.engine.policy.rules import RULES
from headrace.ext_proc.engine.policy.validation import validated
from headrace.ext_proc.engine.policy.webhooks import Webhook, webhook_of
from headrace.ext_proc.engine.registry import Build, FilterClass, FilterError, Ports, Registry, third_party
from headrace.ext_proc.engine.settings import FilterSettings
from headrace.ext_proc.stores.shadow import ShadowStore

if TYPE_CHECKING:
    from headrace.ext_proc.audit.terms import Terms

# Ways in which the overrides of one filter may apply together; each is checked when the policy is compiled.
MAX_COMBINATIONS = 4096

# Every chain ends with it unless it lists it: without it nothing is settled, and streams report no usage.
IMPLIED = "usage"


@dataclass(frozen=True, slots=True)
class Policy:
    """A compiled policy. An exchange pins one for its life.

    revision: 12 hexadecimal digits that change with the policy file and with every file it names. files: those files.
    """

    path: Path
    revision: str
    document: PolicyDocument
    catalogue: Catalogue
    chain: tuple[Choice, ...]
    files: frozenset[Path]
    private_headers: tuple[str, ...] = ()
    filters: tuple[Filter, ...] = ()
    """Those built with the policy. One that has `warm()` is made ready by it; one that has a `remark` is summed up with it."""
    destinations: Mapping[str, Destination] = field(default_factory=dict)
    webhook: Webhook | None = None
    candidate: "Policy | None" = None
    """Tried beside this one; see `candidate` of the document."""
    remarks: Sequence[Problem] = ()
    """What it says to no effect, or hardly as it was meant; the candidate's included."""
    audit: "Terms | None" = None
    """Where every decision is kept."""
    needs_store: bool = False
    """Whether it refuses LLM calls while the store is away: a filter in force has `needs_store`. Overrides are not looked at."""

    other_paths: OtherPaths = field(default_factory=lambda: OtherPaths("pass"))

    def passes(self, method: str, path: str) -> bool:
        return self.other_paths.passes(method, path)


def compile_policy(path: Path, registry: Registry, ports: Ports, gateway: Gateway = Gateway.ENVOY) -> Policy:
    """The policy in `path`, for `gateway`. Reads the files it names; calls no port. Raises PolicyErrors with every problem."""
    content = read_bytes(path, MAX_BYTES)
    return _Compiler(parse(content, str(path)), path, registry, ports, gateway).compile(content)


def revision_of(content: bytes, files: Iterable[bytes]) -> str:
    """files: the contents of those it names, in the order of their paths."""
    digest = hashlib.sha256(content)
    for one in files:
        digest.update(hashlib.sha256(one).digest())
    return digest.hexdigest()[:12]


@dataclass(frozen=True, slots=True)
class _Entry:
    """A filter of the chain, its settings checked."""

    name: str
    where: Where
    cls: FilterClass
    given: Mapping[str, Any]
    settings: FilterSettings


@dataclass(frozen=True, slots=True)
class _Change:
    """One override, as far as it concerns one filter."""

    where: Where
    scope: Scope
    given: Mapping[str, Any]


@dataclass
class _Compiler:
    located: Located
    path: Path
    registry: Registry
    ports: Ports
    gateway: Gateway
    problems: list[Problem] = field(default_factory=list)
    files: set[Path] = field(default_factory=set)
    private: set[str] = field(default_factory=set)
    built: list[Filter] = field(default_factory=list)
    remarked: set[Problem] = field(default_factory=set)
    needs_store: bool = False

    def compile(self, content: bytes) -> Policy:
        document = validated(PolicyDocument, self.located.value, self.problem)
        entries = [entry for name, where, given in self._named() if (entry := self._entry(name, where, given))]
        if document is None:
            raise PolicyErrors(self.problems, self.files)
        for rule in RULES:
            for where, message in rule(document):
                self.problem(where, message)
        for where, message in beyond(document, self.gateway):
            self.problem(where, message)
        catalogue = Catalogue(document.models)
        build = Build(document, catalogue, self.path.parent, self.ports, (), self.problem, self.files, self.remark)
        check_files(build)
        destinations, webhook, audit = destinations_of(build), webhook_of(build), _audit_of(build)
        chain = tuple(self._place(entry, build) for entry in entries)
        candidate = self._candidate(document)
        if self.problems:
            raise PolicyErrors(self.problems, self.files)
        private = tuple(sorted(self.private))
        revision, files, built = self._revision(content), frozenset(self.files), tuple(self.built)
        parts = private, built, destinations, webhook, candidate, self._remarks(document, candidate), audit, self.needs_store
        paths = OtherPaths(document.other_paths)
        return Policy(self.path, revision, document, catalogue, chain, files, *parts, paths)

    def _remarks(self, document: PolicyDocument, candidate: Policy | None) -> Sequence[Problem]:
        own = (self._told(where, message) for rule in REMARKS for where, message in rule(document))
        return sorted((*own, *self.remarked, *(candidate.remarks if candidate is not None else ())))

    def _candidate(self, document: PolicyDocument) -> Policy | None:
        """Over a store of its own organisations, and servers that it only looks at."""
        if document.candidate is None:
            return None
        path = self.path.parent / document.candidate.file
        self.files.add(path)
        beside = replace(self.ports, store=ShadowStore(self.ports.store), load=Watching(self.ports.load))
        try:
            candidate = compile_policy(path, self.registry, beside)
        except PolicyErrors as errors:
            self.problems += errors.problems
            self.files |= errors.files
            return None
        self.files |= candidate.files
        if candidate.document.candidate is not None:
            self.problem(("candidate", "file"), f"{path.name} has a candidate itself; one at a time is tried")
        return candidate

    def _named(self) -> Sequence[tuple[str, Where, Mapping[str, Any]]]:
        """The chain as the document lists it, and what ends every chain."""
        listed = list(_listed(self.located.value))
        if not listed or IMPLIED not in self.registry.names or any(name == IMPLIED for name, _, _ in listed):
            return listed
        return [*listed, (IMPLIED, ("filters",), {})]

    def _revision(self, content: bytes) -> str:
        try:
            return revision_of(content, [path.read_bytes() for path in sorted(self.files)])
        except OSError as error:
            raise PolicyErrors([Problem(str(error.filename), 0, "", f"cannot be read: {error.strerror}")], self.files) from None

    def problem(self, where: Where, message: str) -> None:
        self.problems.append(self._told(where, message))

    def remark(self, where: Where, message: str) -> None:
        self.remarked.add(self._told(where, message))

    def _told(self, where: Where, message: str) -> Problem:
        return Problem(self.located.file, self.located.line_of(where), spelled(where), message)

    def _entry(self, name: str, where: Where, given: Mapping[str, Any]) -> _Entry | None:
        try:
            cls = self.registry.load(name)
            settings = _checked(cls, given, lambda inner, message: self.problem((*where, *inner), message))
        except FilterError as error:
            self.problem(where, str(error))
            return None
        return _Entry(name, where, cls, given, settings) if settings is not None else None

    def _place(self, entry: _Entry, build: Build) -> Choice:
        base = self._built(entry, entry.settings, entry.where, build)
        if entry.settings.mode == "enforce":
            self.private.update(getattr(base, "private_headers", ()))
        changes = list(_changes(entry.name, build.document.overrides))
        self.needs_store |= entry.settings.mode == "enforce" and getattr(base, "needs_store", False)
        if base is None or not changes:
            return Fixed(link_of(entry.name, base, entry.settings) if base is not None else None)
        variants = _Variants(entry, base, changes, build)
        self._check_combinations(variants)
        return Varying([change.scope for change in changes], variants.link)

    def _built(self, entry: _Entry, settings: FilterSettings, where: Where, build: Build) -> Filter | None:
        try:
            self.built.append(_construct(entry.cls, settings, replace(build, at=where)))
            return self.built[-1]
        except FilterError as error:
            self.problem(where, str(error))
        except PolicyErrors as errors:  # of a file that the filter reads
            self.problems += errors.problems
        return None

    def _check_combinations(self, variants: "_Variants") -> None:
        found = combinations([change.scope for change in variants.changes], MAX_COMBINATIONS)
        if len(found) > MAX_COMBINATIONS:
            message = f"overrides of {variants.entry.name!r} may meet in more than {MAX_COMBINATIONS} ways; use names, not globs"
            self.problem(variants.changes[-1].where, message)
            return
        for combination in found[1:]:
            report = partial(self._problem_of, variants, combination)
            settings = _checked(variants.entry.cls, variants.given(combination), report)
            # Filters for several overrides at once are built when a caller needs them: there may be thousands.
            if settings is not None and len(combination) == 1 and not same_filter(settings, variants.entry.settings):
                where = variants.changes[combination[0]].where
                variants.ready[combination] = self._built(variants.entry, settings, where, variants.build)

    def _problem_of(self, variants: "_Variants", combination: Combination, inner: Where, message: str) -> None:
        """Reports at the last of the overrides that set what is wrong, or at the last override."""
        changes = [variants.changes[index] for index in combination]
        guilty = [change for change in changes if inner and inner[0] in change.given]
        if guilty:
            self.problem((*guilty[-1].where, *inner), message)
        elif not inner or len(changes) == 1:
            self.problem((*changes[-1].where, *inner), message)


@dataclass(frozen=True, slots=True)
class _Variants:
    """Builds a filter's link for a combination of overrides. ready: filters built when the policy was compiled."""

    entry: _Entry
    base: Filter
    changes: Sequence[_Change]
    build: Build
    ready: dict[Combination, Filter | None] = field(default_factory=dict)

    def given(self, combination: Combination) -> dict[str, Any]:
        return merged(self.entry.given, *(self.changes[index].given for index in combination))

    def link(self, combination: Combination) -> Link | None:
        """Raises FilterError when the filter cannot be built with these settings."""
        settings = _checked(self.entry.cls, self.given(combination), _refuse)
        assert settings is not None, "_refuse raises"
        return link_of(self.entry.name, self._filter(combination, settings), settings)

    def _filter(self, combination: Combination, settings: FilterSettings) -> Filter:
        if same_filter(settings, self.entry.settings):
            return self.base
        if (ready := self.ready.get(combination)) is not None:
            return ready
        where = self.changes[combination[-1]].where
        return _construct(self.entry.cls, settings, replace(self.build, at=where, problem=_refuse))


def _refuse(where: Where, message: str) -> None:
    raise FilterError(f"{spelled(where)}: {message}")


def _checked(cls: FilterClass, given: Mapping[str, Any], problem: Callable[[Where, str], None]) -> FilterSettings | None:
    with third_party(f"settings of filter {cls.name!r} cannot be checked"):
        return validated(cls.Settings, given, problem)


def _construct(cls: FilterClass, settings: FilterSettings, build: Build) -> Filter:
    with third_party(f"filter {cls.name!r} cannot be built"):
        return cls(settings, build)


def _listed(value: Mapping[str, Any]) -> Iterator[tuple[str, Where, Mapping[str, Any]]]:
    """The well-formed entries of the chain, also in a document that is wrong elsewhere."""
    entries = value.get("filters")
    for index, entry in enumerate(entries if isinstance(entries, list) else ()):
        if isinstance(entry, dict) and len(entry) == 1:
            ((name, given),) = entry.items()
            if isinstance(given, dict):
                yield name, ("filters", index, name), given


def _changes(name: str, overrides: Iterable[Override]) -> Iterator[_Change]:
    for index, override in enumerate(overrides):
        if name in override.set:
            yield _Change(("overrides", index, "set", name), Scope.of(override), override.set[name])


def _audit_of(build: Build) -> "Terms | None":
    if build.document.audit is None:
        return None
    from headrace.ext_proc.audit.terms import audit_terms_of  # cryptography: 8 MB that most policies do without

    return audit_terms_of(build)
