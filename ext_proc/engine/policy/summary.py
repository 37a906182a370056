"""What a policy does, in one line."""

from collections.abc import Iterable, Sequence

from headrace.ext_proc.engine.policy.auditing import Audit
from headrace.ext_proc.engine.policy.budgets import Budget, Sliding, UsdLimit
from headrace.ext_proc.engine.policy.compile import Policy
from headrace.ext_proc.engine.policy.paths import OtherPaths

_MOST_NAMES = 5


def summary(policy: Policy) -> str:
    """Such as: 2 models (llama, gpt-4*); filters identity, pii (shadow), usage; budgets day (5 USD per team and day)."""
    document = policy.document
    models = [model.name for model in document.models]
    budgets = [f"{budget.name} ({_budget(budget)})" for budget in document.budgets]
    parts = [
        f"{_count(models, 'model')} ({_some(models)})" if models else "any model",
        f"filters {', '.join(filters(policy))}" if policy.chain else "no filters",
        f"budgets {', '.join(budgets)}" if budgets else "",
        _count(document.overrides, "override") if document.overrides else "",
        _audit(document.audit),
        _other_paths(policy.other_paths),
    ]
    return "; ".join(part for part in parts if part)


def filters(policy: Policy) -> Iterable[str]:
    """The names in the policy's chain, with the mode of those that do not enforce, and with what they remark."""
    remarks = {getattr(each, "name", ""): getattr(each, "remark", "") for each in reversed(policy.filters)}
    for entry in policy.document.filters:
        for name, settings in entry.items():
            mode = settings.get("mode", "enforce")
            said = ", ".join(part for part in ("" if mode == "enforce" else str(mode), remarks.get(name, "")) if part)
            yield f"{name} ({said})" if said else name


def _other_paths(paths: OtherPaths) -> str:
    if not paths.refuse:
        return ""
    return "other paths are refused" + (f" but for {_some(paths.listed)}" if paths.listed else "")


def _audit(audit: Audit | None) -> str:
    if audit is None:
        return ""
    return f"audit log in {audit.directory}" + (f" with {audit.bodies} bodies" if audit.bodies != "none" else "")


def _budget(budget: Budget) -> str:
    whom = ", ".join(budget.per)
    match budget.window:
        case None:
            return f"{_amount(budget)} per {whom}"
        case Sliding(sliding=seconds):
            return f"{_amount(budget)} per {whom} and any {seconds:,} s"
        case window:
            return f"{_amount(budget)} per {whom} and {window}"


def _amount(budget: Budget) -> str:
    if isinstance(budget.limit, UsdLimit):
        return f"{budget.limit.usd:,f} USD"
    ((unit, amount),) = budget.limit.model_dump().items()
    return f"{amount:,} requests at once" if unit == "concurrency" else f"{amount:,} {unit.replace('_', ' ')}"


def _count(things: Sequence[object], name: str) -> str:
    return f"{len(things)} {name}" if len(things) == 1 else f"{len(things)} {name}s"


def _some(names: Sequence[str]) -> str:
    more = len(names) - _MOST_NAMES
    return ", ".join(names[:_MOST_NAMES]) + (f" and {more} more" if more > 0 else "")
