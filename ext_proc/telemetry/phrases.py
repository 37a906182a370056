"""Decision records in words. Nothing is said that the record does not say."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from headrace.ext_proc.engine.budgets.amounts import quantity

Record = Mapping[str, Any]
Note = Mapping[str, Any]


def step(record: Record) -> str:
    """What one filter decided in one phase, and why."""
    note = record.get("note", {})
    said = "; ".join(_WORDS.get(record["filter"], _plain)(note)) or "nothing to do"
    why = f" ({record['reason']})" if record["reason"] else ""
    match record["outcome"]:
        case "continue":
            shadow = "in shadow: " if record.get("mode") == "shadow" else ""
            return shadow + said + _would_go(record) + why
        case "reply":
            return f"refuses{why}" + (f": {said}" if note else "")
        case "would_reply":
            return f"would refuse{why}" + (f": {said}" if note else "")
        case outcome:
            return f"{outcome.replace('_', ' ')}{why}: {record.get('error', said)}"


def _would_go(record: Record) -> str:
    """Of a filter in shadow, whose route nobody takes."""
    route = record.get("metadata", {}).get("route")
    return f"; would go to {route}" if route else ""


def _identity(note: Note) -> Iterator[str]:
    if "source" in note:
        parts = (f"{name} {note[name]}" for name in ("team", "app", "user") if name in note)
        yield f"{note['source']}: {note.get('key', 'the caller')} is {', '.join(parts)}"


def _pii(note: Note) -> Iterator[str]:
    if findings := note.get("findings"):
        action = note.get("action", "")
        each = action if isinstance(action, Mapping) else {}
        said = {entity: f" ({each[entity]})" if entity in each else "" for entity in findings}
        found = ", ".join(f"{count} {entity}{said[entity]}" for entity, count in findings.items())
        action = f"{action}: " if action and not each else ""
        places = f" in {', '.join(note['paths'])}" if note.get("paths") else ""
        yield f"{action}{found}{places}"


def _budget(note: Note) -> Iterator[str]:
    for held in note.get("budgets", ()):
        unit = held["unit"]
        yield f"{held['budget']} reserves {quantity(unit, held['reserved'])}, {quantity(unit, held['remaining'])} left"
    if "needed" in note:
        unit = note["unit"]
        left = quantity(unit, note["remaining"])
        yield f"{note['budget']} has {left} left, {quantity(unit, note['needed'])} would be needed"


def _routing(note: Note) -> Iterator[str]:
    if "candidates" in note:
        least = "" if "input_tokens" in note else "up to "
        prompt = note["input_tokens_at_most"] if least else note["input_tokens"]
        yield f"{least}{prompt:,} prompt + {note['output_cap']:,} answer = {prompt + note['output_cap']:,} tokens"
        yield from filter(None, [", ".join(map(_candidate, note["candidates"]))])


def _candidate(pool: Note) -> str:
    return f"{place(pool)}{'' if pool['fits'] else ' not'}: {pool['why']}"


def place(candidate: Note) -> str:
    """Its upstream, and the model where it is not the one asked for."""
    upstream = candidate["upstream"] or "the upstream of its route"
    return f"{candidate['model']} at {upstream}" if "model" in candidate else upstream


def _plain(note: Note) -> Iterator[str]:
    return (f"{name} {value}" for name, value in note.items())


_WORDS: Mapping[str, Callable[[Note], Iterator[str]]] = {
    "identity": _identity,
    "pii": _pii,
    "budget": _budget,
    "routing": _routing,
}


def reserved(decision: Record) -> Sequence[Record]:
    """What the budget filter reserved, budget by budget; empty for a request that was refused in the end."""
    if decision["outcome"] == "refused":
        return ()
    return [held for step in decision["steps"] for held in step.get("note", {}).get("budgets", ())]


def money(decision: Record, settlement: Record) -> str:
    """What was reserved, and what it was settled to."""
    held = " and ".join(quantity(one["unit"], one["reserved"]) for one in reserved(decision))
    usage = settlement.get("usage")
    if usage is None:
        return f"{settlement['outcome']}; reserved {held}"
    used = f"{usage['input_tokens']:,} + {usage['output_tokens']:,} tokens"
    return f"{settlement['outcome']}: {used}, ${settlement.get('usd', '0')}; reserved {held}"
