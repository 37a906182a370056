"""What happens to an API key: it is made, rotated, revoked. Values only; who calls keeps them."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from headrace.ext_proc.core.errors import HeadraceError
from headrace.ext_proc.engine.keys import KeyRecord, digest, new_id, new_secret

State = Literal["active", "expired", "revoked"]


class KeyEnded(HeadraceError):
    """The key is revoked or expired: rotating it would bring back what somebody has taken away."""


@dataclass(frozen=True, slots=True)
class FreshKey:
    """A key that was just made. secret: what its caller shows; it is kept nowhere."""

    secret: str
    record: KeyRecord


def fresh_key(pepper: bytes, now: datetime, **members: Any) -> FreshKey:
    """members: of KeyRecord, but for id, digest and created. Raises pydantic.ValidationError for those that cannot be."""
    secret = new_secret()
    return FreshKey(secret, KeyRecord(id=new_id(), digest=digest(pepper, secret), created=now, **members))


def rotated(
    old: KeyRecord, pepper: bytes, now: datetime, *, until: datetime, expires: datetime | None
) -> tuple[FreshKey, KeyRecord]:
    """A key for the same caller and models, and the old one as it ends: at `until`, or sooner where it did anyway.

    expires: when the new key ends; None: when the old one would have. Raises KeyEnded.
    """
    state = state_of(old, now)
    if state != "active":
        raise KeyEnded(f"{old.id} is {state}")
    members = old.model_dump(exclude={"id", "digest", "created", "expires"})
    fresh = fresh_key(pepper, now, **members, expires=expires or old.expires)
    return fresh, old.model_copy(update={"expires": min(until, old.expires or until)})


def revoked(key: KeyRecord) -> KeyRecord:
    """It is kept, so that its id still means something in old records."""
    return key.model_copy(update={"disabled": True})


def state_of(key: KeyRecord, now: datetime) -> State:
    if key.disabled:
        return "revoked"
    return "expired" if key.is_expired(int(now.timestamp() * 1000)) else "active"
