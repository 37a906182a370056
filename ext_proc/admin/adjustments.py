"""Changes of budgets as the API shows and takes them, and what is decided about them."""

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Self

from pydantic import AwareDatetime, BaseModel, Field

from headrace.ext_proc.admin.desks import desk_of, explained
from headrace.ext_proc.admin.operation import Call, Given, Nothing
from headrace.ext_proc.core.ledger import Unit
from headrace.ext_proc.core.principal import DEFAULT_ORGANISATION
from headrace.ext_proc.engine.budgets import adjustments as records
from headrace.ext_proc.engine.budgets.adjustments import Kind, State
from headrace.ext_proc.engine.budgets.desk import MOST_REASON, Change
from headrace.ext_proc.engine.history import Act
from headrace.ext_proc.engine.keys import Part
from headrace.ext_proc.engine.prices import NANO

AMOUNT = r"^[0-9]{1,16}(\.[0-9]{1,9})?$"
Amount = Annotated[str, Field(pattern=AMOUNT, description="In the budget's own unit: USD, such as 12.50, or a whole number.")]
PAGE = 1000


class Whom(Given):
    """Whose counter: a name for each level that the budget counts per, besides the organisation."""

    team: Part | None = None
    app: Part | None = None
    user: Part | None = None
    key: Part | None = None
    model: Part | None = None

    @property
    def named(self) -> Mapping[str, str]:
        return self.model_dump(include=set(Whom.model_fields), exclude_none=True)


class Asked(Given):
    """What every change of a budget says."""

    organisation: Part = DEFAULT_ORGANISATION
    whom: Whom = Field(Whom(), description="Empty: every caller of the budget.")
    reason: Annotated[str, Field(min_length=1, max_length=MOST_REASON, description="For the audit trail.")]
    needs_approval: bool = Field(False, description="It waits until an approver who is somebody else approves it.")


class AskedReset(Asked):
    """What was used so far no longer counts, in the window that is running, for one caller."""


class AskedAmount(Asked):
    """Another limit, or more of it, for a time."""

    amount: Amount
    until: AwareDatetime | None = Field(None, description="null: until the running window ends. Sliding windows need one.")


class Adjustment(BaseModel):
    """A change of a budget."""

    id: str
    organisation: str
    budget: str
    kind: Kind
    unit: str
    amount: str = Field(description="What is added (raise, reset), or the limit itself (set).")
    whom: dict[str, str] = Field(description="Empty: every caller of the budget.")
    begins: datetime
    until: datetime
    state: State
    counts: bool = Field(description="Whether it is in force at this moment.")
    reason: str
    history: list[Act] = Field(description="What was done about it and by whom, the oldest first.")

    @classmethod
    def of(cls, record: records.Adjustment, now: datetime) -> Self:
        return cls(
            id=record.id, organisation=record.organisation, budget=record.budget, kind=record.kind, unit=unit_of(record.unit),
            amount=amount_of(record.unit, record.amount), whom=dict(record.whom), begins=moment(record.from_ms),
            until=moment(record.until_ms), state=record.state, counts=record.counts(int(now.timestamp() * 1000)),
            reason=record.reason, history=acts_of(record),
        )  # fmt: skip


class Adjustments(BaseModel):
    """The latest first."""

    adjustments: list[Adjustment]


class AdjustmentQuery(Given):
    """Which adjustments. Those that match all of it."""

    organisation: Part | None = None
    budget: Part | None = None
    state: State | None = None
    limit: Annotated[int, Field(ge=1, le=PAGE)] = 100


def unit_of(unit: Unit) -> str:
    return "usd" if unit == "nano_usd" else unit


def amount_of(unit: Unit, amount: int) -> str:
    return f"{Decimal(amount) / NANO:f}" if unit == "nano_usd" else str(amount)


def moment(at_ms: int) -> datetime:
    return datetime.fromtimestamp(at_ms / 1000, UTC)


def acts_of(record: records.Adjustment) -> list[Act]:
    return [Act(what=event.what, by=event.by, at=moment(event.at_ms)) for event in record.history]


async def list_adjustments(call: Call[AdjustmentQuery, None]) -> Adjustments:
    query, desk = call.query, await desk_of(call)
    found = await desk.adjustments(query.organisation)
    wanted = [one for one in found if query.budget in (None, one.budget) and query.state in (None, one.state)]
    return Adjustments(adjustments=[Adjustment.of(one, call.now) for one in wanted[: query.limit]])


async def raise_budget(call: Call[Nothing, AskedAmount]) -> Adjustment:
    return await _requested(call, "raise", call.body.amount, call.body.until)


async def set_budget(call: Call[Nothing, AskedAmount]) -> Adjustment:
    return await _requested(call, "set", call.body.amount, call.body.until)


async def reset_budget(call: Call[Nothing, AskedReset]) -> Adjustment:
    return await _requested(call, "reset", "0", None)


async def _requested(
    call: Call[Nothing, AskedAmount] | Call[Nothing, AskedReset], kind: Kind, amount: str, until: datetime | None
) -> Adjustment:
    body, desk = call.body, await desk_of(call)
    change = Change(
        kind, call.path["name"], call.token.holder, amount, body.organisation, body.whom.named,
        int(until.timestamp() * 1000) if until else None, body.reason, body.needs_approval,
    )  # fmt: skip
    with explained():
        return Adjustment.of(await desk.request(change), call.now)


async def approve_adjustment(call: Call[Nothing, None]) -> Adjustment:
    desk = await desk_of(call)
    with explained():
        return Adjustment.of(await desk.approve(call.path["id"], call.token.holder), call.now)


async def reject_adjustment(call: Call[Nothing, None]) -> Adjustment:
    desk = await desk_of(call)
    with explained():
        return Adjustment.of(await desk.reject(call.path["id"], call.token.holder), call.now)


async def end_adjustment(call: Call[Nothing, None]) -> Adjustment:
    desk = await desk_of(call)
    with explained():
        return Adjustment.of(await desk.end(call.path["id"], call.token.holder), call.now)
