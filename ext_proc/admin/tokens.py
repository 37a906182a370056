"""Tokens of the admin API: for a person or a program, with roles and an end. What is kept is a hash.

A token is `hra-<id>-<secret>`. Its id finds the record; its 256 random bits are all the hashing it needs: see `engine/keys.py`.
There is no pepper, so that who has the store can make a first token from anywhere.
"""

import hmac
import logging
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from hashlib import sha256
from typing import Annotated

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field

from headrace.ext_proc.core.roster import Listed
from headrace.ext_proc.engine.history import Act
from headrace.ext_proc.engine.keys import Part
from headrace.ext_proc.engine.policy.values import Matching


class Role(StrEnum):
    """What a token is for."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    APPROVER = "approver"


GRANTS: Mapping[Role, frozenset[Role]] = {
    Role.VIEWER: frozenset({Role.VIEWER}),
    Role.OPERATOR: frozenset({Role.VIEWER, Role.OPERATOR}),
    Role.APPROVER: frozenset({Role.VIEWER, Role.APPROVER}),
}
"""What a role may do: its own, and to look. An approver cannot change a budget; an operator cannot approve."""

ROSTER = "admin-tokens"
PREFIX = "hra-"
_TOKEN = re.compile(r"hra-([0-9a-f]{12})-[A-Za-z0-9_-]{43}", re.ASCII)
_NOBODY = "0" * 64

log = logging.getLogger(__name__)


class TokenRecord(BaseModel):
    """What is kept of a token. holder: whose it is; what somebody asked for, another token of the same holder cannot approve."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: Annotated[str, Matching(r"[0-9a-f]{12}", "an id of 12 hexadecimal digits")]
    digest: Annotated[str, Matching(r"[0-9a-f]{64}", "a SHA-256 of 64 hexadecimal digits")]
    holder: Part
    roles: Annotated[tuple[Role, ...], Field(min_length=1), AfterValidator(lambda roles: tuple(dict.fromkeys(roles)))]
    created: AwareDatetime
    expires: AwareDatetime
    revoked: bool = False
    history: tuple[Act, ...] = ()

    def allows(self, role: Role) -> bool:
        return any(role in GRANTS[own] for own in self.roles)

    def is_expired(self, now: datetime) -> bool:
        return now >= self.expires

    def packed(self) -> bytes:
        return self.model_dump_json().encode()


@dataclass(frozen=True, slots=True)
class FreshToken:
    """A token that was just made. secret: the token itself; it is kept nowhere."""

    secret: str
    record: TokenRecord


def fresh_token(holder: str, roles: Sequence[Role], now: datetime, expires: datetime, by: str) -> FreshToken:
    """by: who makes it. Raises pydantic.ValidationError for a holder that cannot name anyone."""
    id = secrets.token_hex(6)
    secret = f"{PREFIX}{id}-{secrets.token_urlsafe(32)}"
    made = Act(what="created", by=by, at=now)
    record = TokenRecord(
        id=id, digest=_digest(secret), holder=holder, roles=tuple(roles), created=now, expires=expires, history=(made,)
    )
    return FreshToken(secret, record)


def revoked(token: TokenRecord, now: datetime, by: str) -> TokenRecord:
    """It is kept for the audit trail. One that is revoked already stays as it is."""
    if token.revoked:
        return token
    return token.model_copy(update={"revoked": True, "history": (*token.history, Act(what="revoked", by=by, at=now))})


def unpacked(listed: Listed) -> TokenRecord | None:
    """None, and a word in the log, for a record that is no token: a newer release's, or damaged."""
    try:
        token = TokenRecord.model_validate_json(listed.value, strict=True)
    except ValueError:
        token = None
    if token is None or token.id != listed.id:
        log.error("an admin token in the store cannot be read; nobody is admitted by it", extra={"token": listed.id[:80]})
        return None
    return token


def id_of(secret: str) -> str | None:
    """The id in what may be a token."""
    match = _TOKEN.fullmatch(secret)
    return match[1] if match else None


def is_of(secret: str, record: TokenRecord | None) -> bool:
    """Whether the record is this token's; it takes as long for any other, and for None."""
    return hmac.compare_digest(_digest(secret), record.digest if record else _NOBODY)


def _digest(secret: str) -> str:
    return sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()
