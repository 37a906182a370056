"""From effects to what the store is told, and what the records and the ledger say of it."""

from collections.abc import Mapping
from typing import Any

from headrace.ext_proc.core.effects import Record, Release, Settle
from headrace.ext_proc.core.ledger import Closed, Closing, Reached
from headrace.ext_proc.core.price import Price
from headrace.ext_proc.core.usage import Usage
from headrace.ext_proc.engine.prices import nano_usd, spent_of, usd

Money = Settle | Release

_TOLD = ("exchange", "team", "app", "user", "key", "route", "endpoint", "stream", "status", "duration_ms", "answer_sized")
_COUNTS = ("input_tokens", "cached_tokens", "output_tokens", "reasoning_tokens", "cache_write_tokens", "service_tier")


def closing_of(effect: Money, by: str) -> Closing:
    """What the store is told, by whom: see Closing. The effect must have a lease."""
    assert effect.lease is not None, "what no budget holds is not settled"
    if isinstance(effect, Release):
        return Closing(effect.lease, None, _entry(effect), by)
    if effect.usage is None:
        return Closing(effect.lease, {}, {**_entry(effect), **_charged(effect.reserved, effect.price), "outcome": "kept"}, by)
    entry = {**_entry(effect), **_charged(effect.usage, effect.price)}
    return Closing(effect.lease, spent_of(effect.usage, effect.price), entry, by)


def lapsing(organisation: str, lease: str, about: Mapping[str, str], usage: Usage, price: Price | None) -> Mapping[str, str]:
    """What the ledger is to say of a lease should it lapse. about: whose it is, and for what; see _TOLD, asked and model."""
    entry = {**about, "exchange": lease, "organisation": organisation, "served": about["model"], "model": about["asked"]}
    del entry["asked"]
    return {**entry, **_charged(usage, price)}


def _entry(effect: Money) -> dict[str, str]:
    """The ledger's entry, as far as it is known here. Absent: unknown."""
    context = effect.context
    entry: dict[str, str] = {}
    for name in _TOLD:
        if (value := context.get(name)) is not None:
            entry[name] = value if type(value) is str else _spelled(value)
    served = context.get("served") or context.get("model", "")
    asked = context.get("asked") or served
    entry["exchange"] = str(effect.lease)
    for name, value in ("organisation", effect.organisation), ("model", asked), ("served", served):
        if value:
            entry[name] = value
    return entry


def _spelled(value: Any) -> str:
    return str(int(value)) if isinstance(value, bool | float) else str(value)


def _charged(usage: Usage | None, price: Price | None) -> Mapping[str, str]:
    """What the lease's counters hold of it, at which price. Where no usage was reported, that is what was reserved."""
    charged: dict[str, str] = {}
    if usage is not None:
        members = usage.members
        charged = {name: str(members[name]) for name in _COUNTS if name in members}
    if price is not None:
        if usage is not None:
            charged["nano_usd"] = str(nano_usd(usage, price))
        charged["price_revision"] = price.revision
    return charged


def settled(effect: Money, closed: Closed) -> Record:
    """The record of a settlement that the store has carried out."""
    if not closed.applied:
        return record_of(effect, "unknown_lease")
    if isinstance(effect, Release):
        return record_of(effect, "released")
    return record_of(effect, "settled" if effect.usage else "kept")


def record_of(effect: Money, outcome: str) -> Record:
    """What became of it: settled, kept (as reserved), released, unknown_lease, unbudgeted, dropped."""
    known = {"exchange": effect.lease, "organisation": effect.organisation} if effect.lease else {}
    money = _money(effect) if isinstance(effect, Settle) and outcome != "dropped" else {}
    return Record("settlement", {**known, **effect.context, **money, "outcome": outcome})


def _money(effect: Settle) -> Mapping[str, Any]:
    """usage as tokens; usd as a decimal string, with the revision of the price."""
    if effect.usage is None:
        return {}
    cost = usd(effect.usage, effect.price)
    if effect.price is None or cost is None:
        return {"usage": effect.usage.members}
    return {"usage": effect.usage.members, "usd": str(cost), "price_revision": effect.price.revision}


def warning_of(organisation: str, reached: Reached, now_ms: int) -> Record:
    """A budget's counter has reached one of its thresholds, told once over all workers."""
    budget, _, whom = reached.counter.partition(":")
    members = {
        "organisation": organisation,
        "budget": budget,
        "counter": whom,
        "unit": reached.unit,
        "limit": reached.limit,
        "threshold": reached.threshold,
        "used": reached.used,
        "window": reached.window,
        "at_ms": now_ms,
    }
    return Record("budget_warning", members)
