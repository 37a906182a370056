"""The filter: asks the policy's sources in order, refuses who is nobody, and what a caller may not ask for."""

from collections.abc import Sequence
from copy import copy
from functools import lru_cache
from typing import ClassVar

from pydantic import Field

from headrace.ext_proc.core.facts import MODEL
from headrace.ext_proc.core.needs import Needs
from headrace.ext_proc.core.principal import PRINCIPAL, Principal
from headrace.ext_proc.core.request import Request
from headrace.ext_proc.core.session import Session
from headrace.ext_proc.core.verdict import PASS, Continue, Edits, Reply, Verdict
from headrace.ext_proc.engine.policy.catalogue import Catalogue
from headrace.ext_proc.engine.registry import Build
from headrace.ext_proc.engine.settings import FilterSettings
from headrace.filters.identity.building import sources_of
from headrace.filters.identity.credentials import CREDENTIAL_HEADERS, Unclear, credential
from headrace.filters.identity.sources import Allows, Assumed, Named, Rejected, Source, TrustedHeaders, everything
from headrace.filters.identity.store_keys import StoreKeys

Placed = tuple[Source, Sequence[str]]


class IdentitySettings(FilterSettings):
    """Who may be who is in the policy's identity list."""

    forward_credentials: bool = Field(
        False, description="true: the caller's own key or token goes on to the upstream. Otherwise it ends here."
    )


class IdentityFilter:
    """One per policy revision."""

    name: ClassVar[str] = "identity"
    Settings: ClassVar[type[FilterSettings]] = IdentitySettings

    def __init__(self, settings: IdentitySettings, build: Build) -> None:
        self.catalogue: Catalogue = build.catalogue
        sources = tuple(sources_of(build))
        self.wanted = _wanted(sources)
        self.needs_store = settings.on_error == "closed" and bool(sources) and all(isinstance(each, StoreKeys) for each in sources)
        stripped = {name for source in sources for name in source.reads}
        if not settings.forward_credentials:
            stripped.update(CREDENTIAL_HEADERS)
        self.private_headers = () if settings.forward_credentials else CREDENTIAL_HEADERS
        self.sources: Sequence[Placed] = [(source, tuple(sorted(stripped - set(source.reads)))) for source in sources]
        """Each with the headers that go no further when it named the caller: credentials, and trusted headers that it did not
        read. Those can only come from the client: the gateway in front would have named the caller with them."""

    def open(self, request: Request) -> Session:
        return IdentitySession(self)

    def assuming(self, who: Principal) -> "IdentityFilter":
        """The same filter, to which every caller is `who`: for those who try a policy. What a key is limited to is not known."""
        assumed = copy(self)
        assumed.sources = [(Assumed(who), self.private_headers)]
        return assumed


def _wanted(sources: Sequence[Source]) -> str:
    """What nobody is told who may show a credential: that none helps where only headers of the gateway name a caller."""
    if not sources or not all(isinstance(source, TrustedHeaders) for source in sources):
        return ""
    names = " or ".join(name for source in sources for name in source.reads)
    return f"Nobody is named: the gateway in front sets the header {names}."


_NO_KEY = "No API key was given. Send yours as 'Authorization: Bearer <key>'."


class IdentitySession(Session):
    """One caller."""

    def __init__(self, filter: IdentityFilter) -> None:
        self._filter = filter
        self._allows: Allows = everything

    async def on_headers(self, request: Request) -> Verdict:
        try:
            return await self._identified(request)
        except Unclear as unclear:
            return _unauthenticated("auth.invalid", str(unclear))

    async def _identified(self, request: Request) -> Verdict:
        """Raises Unclear, and what the sources' ports raise."""
        shown = credential(request.headers)
        for source, removal in self._filter.sources:
            match await source.find(request, shown):
                case Named() as named:
                    return self._admit(named, source.name, removal)
                case Rejected(reason=reason, message=message):
                    return _unauthenticated(reason, message)
                case None:
                    pass
        if shown is None:
            return _unauthenticated("auth.missing", self._filter.wanted or _NO_KEY)
        return _unauthenticated("auth.invalid", self._filter.wanted or "The API key or token is not valid.")

    def _admit(self, named: Named, source: str, removal: Sequence[str]) -> Verdict:
        self._allows = named.allows
        if len(self._filter.catalogue) or named.allows is not everything:
            self.needs = Needs.REQUEST_BODY
        return _admitted(named.principal, source, removal)

    async def on_request(self, request: Request) -> Verdict:
        if self.needs is Needs.NOTHING:
            return PASS
        asked = request.call.model
        entry = self._filter.catalogue.find(asked)
        if not self._allows(asked) or (entry is None and len(self._filter.catalogue)):
            return _not_allowed("model", asked)
        for param, model in request.call.others:
            if not self._allows(model) or (len(self._filter.catalogue) and self._filter.catalogue.find(model) is None):
                return _not_allowed(param, model)
        return _resolved(entry.name) if entry is not None else PASS


@lru_cache(4096)  # the same callers come again
def _admitted(principal: Principal, source: str, removal: Sequence[str]) -> Verdict:
    return Continue(
        Edits(remove_headers=removal),
        facts={PRINCIPAL: principal},
        metadata={"organisation": principal.organisation},
        note={"source": source, **_known(principal)},
        reason="auth.assumed" if source == Assumed.name else f"identity.{source}",
    )


@lru_cache(4096)
def _resolved(model: str) -> Verdict:
    return Continue(facts={MODEL: model})


def _known(principal: Principal) -> dict[str, str]:
    names = ("organisation", "team", "app", "user", "key")
    return {name: value for name in names if (value := getattr(principal, name)) is not None}


def _unauthenticated(reason: str, message: str) -> Reply:
    return Reply(401, reason, message, headers={"www-authenticate": "Bearer"})


def _not_allowed(param: str, model: str) -> Reply:
    """The same for a model that is not there and one that is not for this caller: the catalogue is not to be probed."""
    return Reply(403, "model.not_allowed", f"The model {model[:100]!r} is not available to you here.", param=param)
