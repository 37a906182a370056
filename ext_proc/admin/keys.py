"""Operations on the API keys in the store."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Self

from pydantic import AwareDatetime, BaseModel, Field

from headrace.ext_proc.admin.errors import ApiError, Problem, invalid
from headrace.ext_proc.admin.operation import Call, Given, Nothing
from headrace.ext_proc.admin.policies import pepper_of
from headrace.ext_proc.core.principal import DEFAULT_ORGANISATION
from headrace.ext_proc.core.roster import RosterFull
from headrace.ext_proc.engine import key_store
from headrace.ext_proc.engine.key_changes import FreshKey, KeyEnded, State, fresh_key, rotated, state_of
from headrace.ext_proc.engine.key_store import NoKey, Overtaken
from headrace.ext_proc.engine.keys import KeyRecord, Part
from headrace.ext_proc.engine.policy.values import Name

PAGE = 1000
OVERLAP_S = 86_400
OVERLAP_MAX_S = 366 * 86_400


class Key(BaseModel):
    """A key, without the key itself."""

    id: str
    organisation: str
    team: str | None
    app: str | None
    user: str | None
    models: list[str] = Field(description="Globs of the models it may ask for; empty: the whole catalogue.")
    created: datetime | None
    expires: datetime | None = Field(description="null: it does not end by itself.")
    state: State

    @classmethod
    def of(cls, record: KeyRecord, now: datetime, **more: Any) -> Self:
        members = record.model_dump(exclude={"digest", "disabled", "history"})
        return cls(**{**members, "models": list(record.models)}, state=state_of(record, now), **more)


class KeyWithSecret(Key):
    """A key that was just made."""

    key: str = Field(description="What the caller shows. It is not kept, and cannot be shown again.")


class Keys(BaseModel):
    """A page of keys, in the order of their last change."""

    keys: list[Key]
    next: int | None = Field(description="`after` of the next page; null: this was the last.")


class KeyQuery(Given):
    """Which keys. Those that match all of it."""

    organisation: Part | None = None
    team: Part | None = None
    app: Part | None = None
    user: Part | None = None
    state: State | None = None
    after: Annotated[int, Field(ge=0, le=2**53, description="Where the page before said that this one begins.")] = 0
    limit: Annotated[int, Field(ge=1, le=PAGE, description="Keys of one page.")] = 100

    def takes(self, key: Key) -> bool:
        wanted = self.model_dump(exclude={"after", "limit"}, exclude_none=True)
        return all(getattr(key, name) == value for name, value in wanted.items())


class NewKey(Given):
    """Whose key it is, and what for."""

    organisation: Part = DEFAULT_ORGANISATION
    team: Part | None = None
    app: Part | None = None
    user: Part | None = None
    models: list[Name] = Field([], description="Globs of the models it may ask for; empty: the whole catalogue.")
    expires: AwareDatetime | None = Field(None, description="When it ends (RFC 3339); null: not by itself.")


class Rotation(Given):
    """How one key takes the place of another."""

    overlap_seconds: Annotated[int, Field(ge=0, le=OVERLAP_MAX_S)] = Field(
        OVERLAP_S, description="How long the old key still works; never beyond its own end."
    )
    expires: AwareDatetime | None = Field(None, description="When the new key ends; null: when the old one would have.")


class RotatedKey(BaseModel):
    """The new key, and the old one as it ends."""

    key: KeyWithSecret
    replaces: Key


async def list_keys(call: Call[KeyQuery, None]) -> Keys:
    found: list[tuple[Key, int]] = []
    after, limit = call.query.after, call.query.limit
    while len(found) <= limit and (page := await call.site.store.listed_since(key_store.ROSTER, after, limit=PAGE)):
        records = ((key_store.unpacked(one), one.revision) for one in page)
        keys = [(Key.of(key, call.now), revision) for key, revision in records if key is not None]
        found += [(key, revision) for key, revision in keys if call.query.takes(key)]
        after = page[-1].revision
    shown = found[:limit]
    return Keys(keys=[key for key, _ in shown], next=shown[-1][1] if len(found) > limit else None)


async def create_key(call: Call[Nothing, NewKey]) -> KeyWithSecret:
    _check_end(call.body.expires, call.now)
    pepper = await asyncio.to_thread(pepper_of, call.site.policy)
    members = {**call.body.model_dump(), "models": tuple(call.body.models)}
    fresh = fresh_key(pepper, _second(call.now), call.token.holder, **members)
    with _explained():
        await key_store.put_key(call.site.store, fresh.record)
    return _shown(fresh, call.now)


async def show_key(call: Call[Nothing, None]) -> Key:
    with _explained():
        key, _ = await key_store.find_key(call.site.store, call.path["id"])
    return Key.of(key, call.now)


async def rotate_key(call: Call[Nothing, Rotation]) -> RotatedKey:
    _check_end(call.body.expires, call.now)
    now, body = _second(call.now), call.body
    until = now + timedelta(seconds=body.overlap_seconds)
    pepper = await asyncio.to_thread(pepper_of, call.site.policy)

    def turn(old: KeyRecord) -> tuple[FreshKey, KeyRecord]:
        return rotated(old, pepper, now, call.token.holder, until=until, expires=body.expires)

    with _explained():
        fresh, ending = await key_store.rotate_key(call.site.store, call.path["id"], turn)
    return RotatedKey(key=_shown(fresh, call.now), replaces=Key.of(ending, call.now))


async def revoke_key(call: Call[Nothing, None]) -> Key:
    with _explained():
        ended = await key_store.revoke_key(call.site.store, call.path["id"], _second(call.now), call.token.holder)
    return Key.of(ended, call.now)


def _check_end(expires: datetime | None, now: datetime) -> None:
    """Raises ApiError for an end that is over, or that no clock but its own can show."""
    if expires is None:
        return
    if expires <= now:
        raise invalid([Problem(where="body.expires", message="is over; give a time to come")])
    try:
        expires.astimezone(UTC)
    except OverflowError:
        raise invalid([Problem(where="body.expires", message="is after the year 9999, UTC; give an earlier time")]) from None


@contextmanager
def _explained() -> Iterator[None]:
    """What cannot be done, as ApiError."""
    try:
        yield
    except NoKey as error:
        raise ApiError("not_found", f"{error}") from None
    except (KeyEnded, Overtaken, RosterFull) as error:
        raise ApiError("conflict", f"{error}") from None


def _shown(fresh: FreshKey, now: datetime) -> KeyWithSecret:
    return KeyWithSecret.of(fresh.record, now, key=fresh.secret)


def _second(now: datetime) -> datetime:
    return now.replace(microsecond=0)
