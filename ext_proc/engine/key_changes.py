"""What happens to an API key: it is made, rotated, revoked. Values only; who calls keeps them."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from headrace.ext_proc.core.errors import HeadraceError
from headrace.ext_proc.engine.history import Act
from headrace.ext_proc.engine.keys import KeyRecord, digest, new_id, new_secret

State = Literal["active", "expired", "revoked"]


class KeyEnded(HeadraceError):
    """The key is revoked or expired: rotating it would bring back what somebody has taken away."""


@dataclass(frozen=True, slots=True)
class FreshKey:
    """A key that was just made. secret: what its caller shows; it is kept nowhere."""

    secret: str
    record: KeyRecord


def fresh_key(pepper: bytes, now: datetime, by: str = "", **members: Any) -> FreshKey:
    """by: who makes it, for its history; without, it has none. members: of KeyRecord, but for id, digest, created and history.

    Raises pydantic.ValidationError for members that cannot be.
    """
    secret = new_secret()
    history = (Act(what="created", by=by, at=now),) if by else ()
    return FreshKey(secret, KeyRecord(id=new_id(), digest=digest(pepper, secret), created=now, history=history, **members))


def rotated(
    old: KeyRecord, pepper: bytes, now: datetime, by: str = "", *, until: datetime, expires: datetime | None
) -> tuple[FreshKey, KeyRecord]:
    """A key for the same caller and models, and the old one as it ends: at `until`, or sooner where it did anyway.

    expires: when the new key ends; None: when the old one would have. Raises KeyEnded.
    """
    state = state_of(old, now)
    if state != "active":
        raise KeyEnded(f"{old.id} is {state}")
    members = old.model_dump(exclude={"id", "digest", "created", "expires", "history"})
    fresh = fresh_key(pepper, now, by, **members, expires=expires or old.expires)
    return fresh, _after(old, "rotated", by, now, expires=min(until, old.expires or until))


def revoked(key: KeyRecord, now: datetime, by: str = "") -> KeyRecord:
    """It is kept, so that its id still means something in old records. One that is revoked already stays as it is."""
    return key if key.disabled else _after(key, "revoked", by, now, disabled=True)


def _after(key: KeyRecord, what: str, by: str, now: datetime, **changed: Any) -> KeyRecord:
    history = (*key.history, Act(what=what, by=by, at=now)) if by else key.history
    return key.model_copy(update={**changed, "history": history})


def state_of(key: KeyRecord, now: datetime) -> State:
    if key.disabled:
        return "revoked"
    return "expired" if key.is_expired(int(now.timestamp() * 1000)) else "active"
