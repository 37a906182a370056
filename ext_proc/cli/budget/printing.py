"""Budgets and their adjustments as tables for people, and as JSON."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from headrace.ext_proc.core.ledger import Unit
from headrace.ext_proc.engine.budgets.adjustments import Adjustment
from headrace.ext_proc.engine.budgets.amounts import quantity
from headrace.ext_proc.engine.budgets.desk import Standing
from headrace.ext_proc.engine.prices import NANO


def standings(found: Sequence[Standing]) -> str:
    """One line for each counter."""
    if not found:
        return "nobody has drawn on a budget in the running windows; name a caller with --for"
    head = ("budget", "whose", "used", "limit", "left", "resets")
    return _table([head, *map(_standing, found)])


def _standing(one: Standing) -> tuple[str, ...]:
    limit = quantity(one.unit, one.limit)
    changed = f" ({quantity(one.unit, one.policy_limit)} by the policy)" if one.limit != one.policy_limit else ""
    resets = _at(one.resets_at_ms) if one.resets_at_ms is not None else one.every
    return (
        one.budget,
        _whose(one.whom),
        quantity(one.unit, one.used),
        limit + changed,
        quantity(one.unit, one.remaining),
        resets,
    )


def adjustments(found: Sequence[Adjustment]) -> str:
    if not found:
        return "nothing was asked for"
    head = ("id", "state", "what", "until", "reason", "who")
    return _table([head, *map(_adjustment, found)])


def _adjustment(one: Adjustment) -> tuple[str, ...]:
    who = ", ".join(f"{event.what} by {event.by}" for event in one.history)
    return one.id, one.state.replace("_", " "), what(one), _at(one.until_ms), one.reason or "-", who


def what(one: Adjustment) -> str:
    """`raise team-day of team research by 500 tokens`."""
    whose = f" of {_whose(one.whom)}" if one.whom else " of everybody"
    amount = {"raise": f" by {quantity(one.unit, one.amount)}", "set": f" to {quantity(one.unit, one.amount)}"}.get(one.kind, "")
    return f"{one.kind} {one.budget}{whose}{amount}"


def done(one: Adjustment) -> str:
    """What has become of it, and what is to be done next."""
    if one.state == "pending":
        return f"{what(one)}: waits for approval by somebody else: headrace budget approve POLICY {one.id}"
    lasts = f", until {_at(one.until_ms)}" if one.state == "in_force" else ""
    return f"{what(one)}: {one.state.replace('_', ' ')}{lasts} ({one.id})"


def _whose(whom: Mapping[str, str]) -> str:
    return ", ".join(f"{level} {value or '-'}" for level, value in whom.items()) or "everybody"


def _at(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _table(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    padded = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in padded)


def standings_json(found: Sequence[Standing]) -> str:
    return json.dumps({"budgets": list(map(standing_members, found))}, indent=2)


def standing_members(one: Standing) -> Mapping[str, Any]:
    """Amounts as numbers, money as a decimal string."""
    amounts = {"used": one.used, "limit": one.limit, "policy_limit": one.policy_limit, "remaining": one.remaining}
    return {
        "budget": one.budget,
        "organisation": one.organisation,
        "for": dict(one.whom),
        **_unit(one.unit),
        **{name: number(one.unit, amount) for name, amount in amounts.items()},
        "window": one.every,
        "resets_at": None if one.resets_at_ms is None else _at(one.resets_at_ms),
        "adjustments": [adjustment.id for adjustment in one.adjustments],
    }


def adjustments_json(found: Sequence[Adjustment]) -> str:
    return json.dumps({"adjustments": list(map(adjustment_members, found))}, indent=2)


def adjustment_members(one: Adjustment) -> Mapping[str, Any]:
    """Amounts as numbers, money as a decimal string, instants as ISO 8601."""
    return {
        "id": one.id,
        "state": one.state,
        "kind": one.kind,
        "budget": one.budget,
        "organisation": one.organisation,
        "for": dict(one.whom),
        **_unit(one.unit),
        "amount": number(one.unit, one.amount),
        "from": _at(one.from_ms),
        "until": _at(one.until_ms),
        "reason": one.reason,
        "history": [{"what": event.what, "by": event.by, "at": _at(event.at_ms)} for event in one.history],
    }


def _unit(unit: Unit) -> Mapping[str, str]:
    return {"unit": "usd" if unit == "nano_usd" else unit}


def number(unit: Unit, amount: int) -> int | str:
    """Of money dollars, as a decimal string."""
    return f"{Decimal(amount) / NANO:f}" if unit == "nano_usd" else amount
