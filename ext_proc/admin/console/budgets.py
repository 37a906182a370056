"""Budgets: how they stand, how one is used up, and the changes of them, which are those of the admin API."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Annotated, Any
from urllib.parse import urlencode

from pydantic import BaseModel, Field, ValidationError
from starlette.responses import Response

from headrace.ext_proc.admin import adjustments as changes
from headrace.ext_proc.admin.adjustments import Adjustment, AdjustmentQuery, Asked, AskedAmount, AskedReset, Whom
from headrace.ext_proc.admin.budgets import BudgetQuery, Standing, show_budgets
from headrace.ext_proc.admin.console.burndown import burndown
from headrace.ext_proc.admin.console.frame import PREFIX, Visit
from headrace.ext_proc.admin.desks import At, explained
from headrace.ext_proc.admin.errors import ApiError, Problem, invalid
from headrace.ext_proc.admin.operation import Call
from headrace.ext_proc.admin.policies import budgets_of
from headrace.ext_proc.core.principal import DEFAULT_ORGANISATION
from headrace.ext_proc.engine.budgets.desk import Desk
from headrace.ext_proc.engine.keys import Part

Handler = Callable[[Call[Any, Any]], Awaitable[Adjustment]]

HANDLERS: Mapping[str, Handler] = {
    "raise": changes.raise_budget,
    "set": changes.set_budget,
    "reset": changes.reset_budget,
}
WORDS = {
    "pending": "waits for somebody else's approval",
    "in_force": "is in force",
    "rejected": "is rejected",
    "ended": "has ended",
}


class ChangeForm(Whom):
    """As the form has it: times without an offset are UTC."""

    organisation: Part = DEFAULT_ORGANISATION
    amount: Annotated[str, Field(max_length=40)] | None = None
    until: datetime | None = None
    reason: Annotated[str, Field(max_length=500)] = ""
    needs_approval: bool = False

    def asked(self, model: type[Asked]) -> Asked:
        """Raises ApiError."""
        given: dict[str, Any] = self.model_dump(include={"organisation", "reason", "needs_approval"}) | {"whom": self.named}
        if model is AskedAmount:
            until = self.until and (self.until if self.until.tzinfo else self.until.replace(tzinfo=UTC))
            given |= {"amount": self.amount or "", "until": until}
        try:
            return model.model_validate(given)
        except ValidationError as error:
            first = error.errors(include_input=False)[0]
            raise invalid([Problem(where=str(first["loc"][0]), message=_said(str(first["loc"][0]), first["msg"]))]) from None


def _said(field: str, message: str) -> str:
    words = {"amount": "an amount, such as 12.50 or 5000, is needed", "reason": "say why; it is kept in the audit trail"}
    return words.get(field, message)


async def page(visit: Visit) -> Response:
    query = visit.query(BudgetQuery)
    found = await show_budgets(visit.call(query))
    asked = await changes.list_adjustments(visit.call(AdjustmentQuery(organisation=query.organisation, limit=50)))
    pending = [one for one in asked.adjustments if one.state == "pending" and one.until > visit.now]
    decided = [one for one in asked.adjustments if one not in pending][:10]
    ordered = sorted(found.standings, key=lambda one: (one.budget, -_share(one)))
    return visit.page(
        "budgets.html", query=query, standings=[(one, _share(one), link(one)) for one in ordered], more=found.more, pending=pending,
        decided=decided,
    )  # fmt: skip


def _share(one: Standing) -> float:
    """Of the limit, what is used; 1 where there is no limit to use."""
    limit = float(one.limit)
    return min(float(one.used) / limit, 1.0) if limit else 1.0


def link(one: Standing) -> str:
    """The page of one counter."""
    return link_of(one.budget, one.organisation, one.whom)


def link_of(budget: str, organisation: str, whom: Mapping[str, str]) -> str:
    named = {level: value for level, value in whom.items() if value}
    return f"{PREFIX}/budgets/{_quoted(budget)}?{urlencode({'organisation': organisation, **named})}"


def _quoted(name: str) -> str:
    return urlencode({"": name})[1:].replace("+", "%20")


async def one(visit: Visit) -> Response:
    name = visit.request.path_params["name"]
    query = visit.query(BudgetQuery).model_copy(update={"budget": name})
    now_ms = At(visit.now).now_ms()
    limits = await asyncio.to_thread(budgets_of, visit.console.site.policy)
    with explained():
        found = await Desk(limits, visit.console.site.store, At(visit.now)).show(query.organisation, [query.named], name)
    if not found:
        raise ApiError("not_found", "The budget counts per names that the address does not have; choose it from the list.")
    limit = next(one for one in limits if one.name == name)
    drawn = await burndown(visit.console.site.store, limit, found[0], query.model or "", now_ms)
    past = await changes.list_adjustments(visit.call(AdjustmentQuery(organisation=query.organisation, budget=name, limit=20)))
    standing = Standing.of(found[0], visit.now)
    concerned = [adjustment for adjustment in past.adjustments if adjustment.whom in ({}, dict(standing.whom))]
    return visit.page(
        "budget.html", one=standing, share=_share(standing), burn=drawn, unit=found[0].unit, adjustments=concerned,
        kinds=_kinds(standing), link=link(standing),
    )  # fmt: skip


def _kinds(standing: Standing) -> list[str]:
    """A reset is of a window that ends."""
    return ["raise", "set", "reset"] if standing.resets else ["raise", "set"]


async def change(visit: Visit) -> Response:
    name, kind = visit.request.path_params["name"], visit.request.path_params["kind"]
    if kind not in HANDLERS:
        raise ApiError("not_found", "Budgets are raised, set and reset.")
    form = visit.fields(ChangeForm)
    back = link_of(name, form.organisation, form.named)
    try:
        body: BaseModel = form.asked(AskedReset if kind == "reset" else AskedAmount)
        done = await HANDLERS[kind](visit.call(None, body, name=name))
    except ApiError as error:
        return visit.done(_first(error), back, wrong=True)
    await visit.changed(f"{kind}Budget")
    return visit.done(f"The {kind} of {name} {WORDS[done.state]}.", back)


async def decide(visit: Visit) -> Response:
    handlers = {"approve": changes.approve_adjustment, "reject": changes.reject_adjustment}
    decision = visit.request.path_params["decision"]
    if decision not in handlers:
        raise ApiError("not_found", "Changes are approved and rejected.")
    return await _changed(visit, handlers[decision], f"{decision}Adjustment")


async def end(visit: Visit) -> Response:
    return await _changed(visit, changes.end_adjustment, "endAdjustment")


async def _changed(visit: Visit, handler: Handler, operation: str) -> Response:
    """The list of budgets; a refusal is told on it."""
    try:
        done = await handler(visit.call(id=visit.request.path_params["id"]))
    except ApiError as error:
        return visit.done(_first(error), f"{PREFIX}/budgets", wrong=True)
    await visit.changed(operation)
    return visit.done(f"The {done.kind} of {done.budget} {WORDS[done.state]}.", f"{PREFIX}/budgets")


def _first(error: ApiError) -> str:
    """What is wrong, without where the API has it."""
    problems = error.fault.problems
    return f"Nothing was changed: {problems[0].message if problems else error}"
