"""JSON Web Tokens (RFC 7519) of an identity provider, as a source of identity."""

import binascii
import json
from base64 import urlsafe_b64decode
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from joserfc import jwt
from joserfc.errors import ExpiredTokenError, JoseError
from joserfc.jwt import JWTClaimsRegistry

from headrace.ext_proc.core.ports import Clock
from headrace.ext_proc.core.request import Request
from headrace.ext_proc.engine.policy.models import Jwt
from headrace.filters.identity.jwks import Key
from headrace.filters.identity.sources import EXPIRED, Finding, Named, principal_of


class Keys(Protocol):
    """Where verification keys come from."""

    async def pick(self, kid: str | None, alg: str) -> Key | None:
        """The key that may have signed. Raises KeysUnavailable."""
        ...


class Tokens:
    """Tokens that one provider signed for one audience.

    A token that does not verify may be another source's. One that verifies and has expired is nobody's.
    """

    name = "jwt"
    reads: tuple[str, ...] = ()

    def __init__(self, settings: Jwt, keys: Keys, clock: Clock) -> None:
        self._keys, self._clock = keys, clock
        self._algorithms = list(settings.algorithms)
        self._fields = settings.claims
        audience = [settings.audience] if isinstance(settings.audience, str) else list(settings.audience)
        self._checks: dict[str, Any] = {"exp": {"essential": True}, "aud": {"essential": True, "values": audience}}
        if settings.issuer is not None:
            self._checks["iss"] = {"essential": True, "value": settings.issuer}
        self._claims = JWTClaimsRegistry(lambda: clock.now_ms() // 1000, settings.leeway_seconds, **self._checks)

    async def find(self, request: Request, credential: str | None) -> Finding:
        """Raises KeysUnavailable, and Unclear for claims that cannot name anything."""
        header = _header(credential) if credential else None
        if credential is None or header is None or header.get("alg") not in self._algorithms:
            return None
        kid = header.get("kid")
        key = await self._keys.pick(kid if isinstance(kid, str) else None, header["alg"])
        claims = self._verified(credential, key) if key is not None else None
        return self._finding(claims) if claims is not None else None

    def _verified(self, token: str, key: Key) -> dict[str, Any] | None:
        try:
            return dict(jwt.decode(token, key, algorithms=self._algorithms).claims)
        except (JoseError, ValueError, TypeError, RecursionError):
            return None

    def _finding(self, claims: dict[str, Any]) -> Finding:
        try:
            self._claims.validate(claims)
        except ExpiredTokenError:
            return EXPIRED
        except (JoseError, ValueError, TypeError, OverflowError):
            return None
        return Named(principal_of({part: claim(claims, path) for part, path in self._fields.items()}))


def _header(token: str) -> Mapping[str, Any] | None:
    """The token's header, nothing of it verified; None for what is no token."""
    parts = token.split(".")
    if len(parts) != 3:
        return None
    try:
        header = json.loads(urlsafe_b64decode(parts[0] + "=" * (-len(parts[0]) % 4)))
    except (ValueError, binascii.Error, RecursionError):
        return None
    return header if isinstance(header, dict) and isinstance(header.get("alg"), str) else None


def claim(claims: Mapping[str, Any], path: str) -> str | None:
    """The text at `path`: a claim of exactly this name, else member by member, list positions as numbers.

    Numbers become text; everything else that is no text is None, as is what is not there.
    """
    value: Any = claims.get(path)
    if value is None:
        value = claims
        for step in path.split("."):
            value = _step(value, step)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return value if isinstance(value, str) and value else None


def _step(value: Any, step: str) -> Any:
    if isinstance(value, Mapping):
        return value.get(step)
    if isinstance(value, Sequence) and not isinstance(value, str) and step.isdecimal() and int(step) < len(value):
        return value[int(step)]
    return None
