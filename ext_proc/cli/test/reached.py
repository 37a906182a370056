"""Which rules of a policy no case has reached."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from headrace.ext_proc.core.principal import LEVELS, Principal
from headrace.ext_proc.engine.policy.chain import Scope
from headrace.ext_proc.engine.policy.compile import Policy

Record = Mapping[str, Any]


def unreached(policy: Policy, records: Sequence[Record]) -> Sequence[str]:
    """Each rule that had no part in any decision, as a place in the policy and what would reach it.

    records: the members of the decisions of every case.
    """
    return [*_filters(policy, records), *_models(policy, records), *_budgets(policy, records), *_overrides(policy, records)]


def _steps(records: Sequence[Record]) -> Iterator[Record]:
    return (step for record in records for step in record.get("steps", ()))


def _filters(policy: Policy, records: Sequence[Record]) -> Iterator[str]:
    """A filter is reached where it found, counted, changed or refused something."""
    spoke = {step["filter"] for step in _steps(records) if step.get("note") or step["outcome"] != "continue"}
    for index, entry in enumerate(policy.document.filters):
        for name in entry:
            if name not in spoke and name != "usage":  # it has something to say of answers alone, which the ledger shows
                yield f"filters[{index}].{name}: it had nothing to do in any case"


def _models(policy: Policy, records: Sequence[Record]) -> Iterator[str]:
    asked = {(found.name, record.get("metadata", {}).get("route")) for record in records if (found := _model(policy, record))}
    names = {name for name, _ in asked}
    for index, model in enumerate(policy.document.models):
        if model.name not in names:
            yield f"models[{index}]: no case asks for {model.name!r}"
            continue
        for place, pool in enumerate(model.pools):
            if (model.name, pool.upstream) not in asked:
                yield f"models[{index}].pools[{place}]: no case is sent to {pool.upstream!r}"


def _model(policy: Policy, record: Record) -> Any:
    return policy.catalogue.find(str(record["model"])) if "model" in record else None


def _budgets(policy: Policy, records: Sequence[Record]) -> Iterator[str]:
    """Reserving of a budget reaches it; so does its refusal."""
    notes = [step["note"] for step in _steps(records) if step["filter"] == "budget" and "note" in step]
    named = {held["budget"] for note in notes for held in note.get("budgets", ())} | {note.get("budget") for note in notes}
    for index, budget in enumerate(policy.document.budgets):
        if budget.name not in named:
            yield f"budgets[{index}]: no case is charged to {budget.name!r}"


def _overrides(policy: Policy, records: Sequence[Record]) -> Iterator[str]:
    callers = [_principal(record["principal"]) for record in records if "principal" in record]
    for index, override in enumerate(policy.document.overrides):
        scope = Scope.of(override)
        if not any(map(scope.holds, callers)):
            wanted = ", ".join(f"{name}: {value}" for name, value in override.when.items())
            yield f"overrides[{index}]: no case has a caller with {wanted}"


def _principal(members: Mapping[str, str]) -> Principal:
    return Principal(**{name: value for name, value in members.items() if name in LEVELS})
