"""What a policy does, in one line."""

from collections.abc import Iterable, Sequence

from headrace.ext_proc.engine.policy.compile import Policy
from headrace.ext_proc.engine.policy.models import Budget, RequestLimit, Sliding, TokenLimit, UsdLimit

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
        "other paths are refused" if policy.refuse_other_paths else "",
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


def _budget(budget: Budget) -> str:
    match budget.limit:
        case UsdLimit(usd=usd):
            amount = f"{usd:,f} USD"
        case TokenLimit(tokens=tokens):
            amount = f"{tokens:,} tokens"
        case RequestLimit(requests=requests):
            amount = f"{requests:,} requests"
    window = f"any {budget.window.sliding:,} s" if isinstance(budget.window, Sliding) else budget.window
    return f"{amount} per {', '.join(budget.per)} and {window}"


def _count(things: Sequence[object], name: str) -> str:
    return f"{len(things)} {name}" if len(things) == 1 else f"{len(things)} {name}s"


def _some(names: Sequence[str]) -> str:
    more = len(names) - _MOST_NAMES
    return ", ".join(names[:_MOST_NAMES]) + (f" and {more} more" if more > 0 else "")
