"""The audit trail: what was done about keys, tokens and budgets, by whom."""

from collections.abc import AsyncIterator, Iterator
from datetime import datetime
from heapq import nlargest
from typing import Annotated

from pydantic import AwareDatetime, BaseModel, Field

from headrace.ext_proc.admin import tokens
from headrace.ext_proc.admin.adjustments import acts_of, amount_of, unit_of
from headrace.ext_proc.admin.operation import Call, Given
from headrace.ext_proc.core.ports import Store
from headrace.ext_proc.core.roster import Listed
from headrace.ext_proc.engine import key_store
from headrace.ext_proc.engine.budgets import adjustments
from headrace.ext_proc.engine.keys import Part
from headrace.ext_proc.engine.rosters import everyone

PAGE = 1000


class Deed(BaseModel):
    """One thing that was done."""

    at: datetime
    by: str
    what: str = Field(description="Such as key.revoked, token.created, budget.requested, budget.approved.")
    subject: str = Field(description="The id of what it was done to.")
    about: str = Field(description="What that is, in words.")
    reason: str


class AuditQuery(Given):
    """Which part of the trail."""

    start: Annotated[AwareDatetime | None, Field(alias="from", description="At or after this instant (RFC 3339).")] = None
    end: Annotated[
        AwareDatetime | None, Field(alias="to", description="At or before this instant; the last deed's leads to the next page.")
    ] = None
    by: Part | None = Field(None, description="Who did it.")
    subject: Annotated[str | None, Field(max_length=100, description="To what.")] = None
    limit: Annotated[int, Field(ge=1, le=PAGE)] = 100

    def takes(self, deed: Deed) -> bool:
        after = self.start is None or self.start <= deed.at
        before = self.end is None or deed.at <= self.end
        return after and before and self.by in (None, deed.by) and self.subject in (None, deed.subject)


class AuditTrail(BaseModel):
    """The latest first."""

    deeds: list[Deed]


async def show_audit(call: Call[AuditQuery, None]) -> AuditTrail:
    return AuditTrail(deeds=await deeds_of(call.site.store, call.query))


async def deeds_of(store: Store, query: AuditQuery) -> list[Deed]:
    """The latest first; of several in one second, too, the last thing that was done about a subject. Raises StoreUnavailable."""
    found = [deed async for deed in _deeds(store) if query.takes(deed)]
    latest = nlargest(query.limit, enumerate(found), key=lambda numbered: (numbered[1].at, numbered[0]))
    return [deed for _, deed in latest]


async def _deeds(store: Store) -> AsyncIterator[Deed]:
    for roster, of in _ROSTERS:
        async for listed in everyone(store, roster):
            for deed in of(listed):
                yield deed


def _of_key(listed: Listed) -> Iterator[Deed]:
    if (key := key_store.unpacked(listed)) is not None:
        parts = {name: getattr(key, name) for name in ("organisation", "team", "app", "user")}
        about = " ".join(f"{name}={value}" for name, value in parts.items() if value)
        for act in key.history:
            yield Deed(at=act.at, by=act.by, what=f"key.{act.what}", subject=key.id, about=about, reason="")


def _of_token(listed: Listed) -> Iterator[Deed]:
    if (token := tokens.unpacked(listed)) is not None:
        about = f"{token.holder} ({', '.join(token.roles)})"
        for act in token.history:
            yield Deed(at=act.at, by=act.by, what=f"token.{act.what}", subject=token.id, about=about, reason="")


def _of_budget(listed: Listed) -> Iterator[Deed]:
    if (one := adjustments.unpacked(listed)) is not None:
        whom = "".join(f" {name}={value}" for name, value in one.whom.items())
        about = (
            f"{one.kind} {one.budget} {amount_of(one.unit, one.amount)} {unit_of(one.unit)} organisation={one.organisation}{whom}"
        )
        for act in acts_of(one):
            yield Deed(at=act.at, by=act.by, what=f"budget.{act.what}", subject=one.id, about=about, reason=one.reason)


_ROSTERS = ((key_store.ROSTER, _of_key), (tokens.ROSTER, _of_token), (adjustments.ROSTER, _of_budget))
