"""How budgets stand."""

import asyncio
from datetime import datetime
from typing import Self

from pydantic import BaseModel, Field

from headrace.ext_proc.admin.adjustments import Adjustment, Whom, amount_of, moment, unit_of
from headrace.ext_proc.admin.desks import At, explained
from headrace.ext_proc.admin.operation import Call
from headrace.ext_proc.admin.policies import budgets_of
from headrace.ext_proc.core.principal import DEFAULT_ORGANISATION
from headrace.ext_proc.engine.budgets import desk
from headrace.ext_proc.engine.budgets.callers import callers
from headrace.ext_proc.engine.keys import Part

CALLERS_MAX = 500
"""Callers of one answer; each of their counters is one call of the store."""


class BudgetQuery(Whom):
    """Whose counters: one caller's, or, without names, those of everybody who drew on a budget in its running window."""

    organisation: Part = DEFAULT_ORGANISATION
    budget: Part | None = None


class Standing(BaseModel):
    """One counter."""

    budget: str
    organisation: str
    whom: dict[str, str]
    unit: str
    every: str = Field(description="The window, in words.")
    used: str
    limit: str = Field(description="With the adjustments that are in force.")
    remaining: str
    policy_limit: str
    resets: datetime | None = Field(description="null: nothing resets it (a sliding window, or what runs at once).")
    adjustments: list[Adjustment] = Field(description="Those in force.")

    @classmethod
    def of(cls, one: desk.Standing, now: datetime) -> Self:
        amounts = {"used": one.used, "limit": one.limit, "remaining": one.remaining, "policy_limit": one.policy_limit}
        return cls(
            budget=one.budget, organisation=one.organisation, whom=dict(one.whom), unit=unit_of(one.unit), every=one.every,
            resets=None if one.resets_at_ms is None else moment(one.resets_at_ms),
            adjustments=[Adjustment.of(adjustment, now) for adjustment in one.adjustments],
            **{name: amount_of(one.unit, amount) for name, amount in amounts.items()},
        )  # fmt: skip


class Standings(BaseModel):
    """Counters."""

    standings: list[Standing]
    more: bool = Field(description=f"Whether there are callers besides the first {CALLERS_MAX}; ask for them by name.")


async def show_budgets(call: Call[BudgetQuery, None]) -> Standings:
    query, store, clock = call.query, call.site.store, At(call.now)
    limits = await asyncio.to_thread(budgets_of, call.site.policy)
    whom = [query.named] if query.named else await callers(store, query.organisation, limits, clock.now_ms())
    with explained():
        found = await desk.Desk(limits, store, clock).show(query.organisation, whom[:CALLERS_MAX] or [{}], query.budget)
    return Standings(standings=[Standing.of(one, call.now) for one in found], more=len(whom) > CALLERS_MAX)
