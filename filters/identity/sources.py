"""Where an identity may come from: what every source answers, API keys, and headers of the gateway in front."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

from headrace.ext_proc.core.ports import Clock
from headrace.ext_proc.core.principal import DEFAULT_ORGANISATION, LEVELS, Principal, is_part
from headrace.ext_proc.core.request import Request
from headrace.ext_proc.engine.keys import KeyRecord, digest
from headrace.ext_proc.engine.policy.catalogue import matcher
from headrace.filters.identity.credentials import Unclear, single

Allows = Callable[[str], bool]


def everything(model: str) -> bool:
    """Allows every model."""
    return True


@dataclass(frozen=True, slots=True)
class Named:
    """The caller is known. allows: which models it may ask for."""

    principal: Principal
    allows: Allows = everything


@dataclass(frozen=True, slots=True)
class Rejected:
    """The source knows the credential and it must not be used; no other source is asked. message: for the caller."""

    reason: str
    message: str


Finding = Named | Rejected | None
"""None: this source does not know the caller; the next one is asked."""

EXPIRED = Rejected("auth.expired", "The API key or token has expired.")
DISABLED = Rejected("auth.invalid", "The API key has been revoked.")


class Source(Protocol):
    """One entry of the policy's identity list. name: as the policy has it. reads: the headers that it trusts."""

    name: str
    reads: tuple[str, ...]

    async def find(self, request: Request, credential: str | None) -> Finding:
        """Raises Unclear for headers that contradict each other, and what its port raises."""
        ...


@lru_cache(256)
def allowing(globs: tuple[str, ...]) -> Allows:
    """Allows what matches any of `globs`; without globs, everything."""
    return matcher(globs) if globs else everything


@dataclass(frozen=True, slots=True)
class Entry:
    """What the filter keeps in memory of a key."""

    named: Named
    expires_ms: float | None
    disabled: bool

    @classmethod
    def of(cls, key: KeyRecord) -> "Entry":
        expires_ms = None if key.expires is None else key.expires.timestamp() * 1000
        return cls(Named(key.principal, allowing(key.models)), expires_ms, key.disabled)

    def finding(self, now_ms: int) -> Finding:
        if self.disabled:
            return DISABLED
        return EXPIRED if self.expires_ms is not None and now_ms >= self.expires_ms else self.named


class Assumed:
    """Every caller is the same one."""

    name = "assumed"
    reads: tuple[str, ...] = ()

    def __init__(self, who: Principal) -> None:
        self._named = Named(who)

    async def find(self, request: Request, credential: str | None) -> Finding:
        return self._named


class FileKeys:
    """API keys of a file, all in memory."""

    name = "api_keys"
    reads: tuple[str, ...] = ()

    def __init__(self, keys: tuple[KeyRecord, ...], pepper: bytes, clock: Clock) -> None:
        self._entries = {key.digest: Entry.of(key) for key in keys}
        self._pepper, self._clock = pepper, clock

    async def find(self, request: Request, credential: str | None) -> Finding:
        entry = self._entries.get(digest(self._pepper, credential)) if credential else None
        return entry.finding(self._clock.now_ms()) if entry else None


class TrustedHeaders:
    """Headers that the gateway in front has set. fields: part of the principal to header name."""

    name = "headers"

    def __init__(self, fields: Mapping[str, str]) -> None:
        self._fields = fields
        self.reads = tuple(fields.values())

    async def find(self, request: Request, credential: str | None) -> Finding:
        given = {part: value for part, name in self._fields.items() if (value := single(request.headers, name))}
        if not given:
            return None
        return Named(principal_of(given))


class Vouched:
    """Who the gateway in front says it is, beside the request: parts of a principal by name, as text."""

    name = "gateway"
    reads: tuple[str, ...] = ()

    async def find(self, request: Request, credential: str | None) -> Finding:
        told = request.vouched if isinstance(request.vouched, Mapping) else {}
        if not any(told.get(part) for part in LEVELS):
            return None
        if strange := [part for part in LEVELS if not isinstance(told.get(part), str | None)]:
            raise Unclear(f"The gateway says a {strange[0]} of this caller that is no text.")
        return Named(principal_of({part: told.get(part) or None for part in LEVELS}))


def principal_of(parts: Mapping[str, str | None]) -> Principal:
    """Raises Unclear for a part that cannot name anything, such as one with control characters."""
    for part, value in parts.items():
        if value is not None and not is_part(value):
            raise Unclear(f"The {part} of this caller is not a name of 1 to 256 printable characters without braces.")
    return Principal(
        parts.get("organisation") or DEFAULT_ORGANISATION,
        parts.get("team"),
        parts.get("app"),
        parts.get("user"),
        parts.get("key"),
    )
