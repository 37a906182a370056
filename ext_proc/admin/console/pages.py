"""Every page there is, and who may see it."""

from headrace.ext_proc.admin.console import activity, budgets, decisions, keys, overview, playground, policy
from headrace.ext_proc.admin.console.frame import Page
from headrace.ext_proc.admin.tokens import Role

PAGES = (
    Page("/", Role.VIEWER, overview.page),
    Page("/live", Role.VIEWER, overview.live, by_itself=True),
    Page("/budgets", Role.VIEWER, budgets.page),
    Page("/budgets/{name}", Role.VIEWER, budgets.one),
    Page("/budgets/{name}/{kind}", Role.OPERATOR, budgets.change, "POST"),
    Page("/adjustments/{id}/end", Role.OPERATOR, budgets.end, "POST"),
    Page("/adjustments/{id}/{decision}", Role.APPROVER, budgets.decide, "POST"),
    Page("/decisions", Role.VIEWER, decisions.page),
    Page("/decisions/{exchange}", Role.VIEWER, decisions.one),
    Page("/policy", Role.VIEWER, policy.page),
    Page("/playground", Role.VIEWER, playground.page),
    Page("/playground", Role.VIEWER, playground.tried, "POST"),
    Page("/keys", Role.VIEWER, keys.page),
    Page("/activity", Role.VIEWER, activity.page),
)
"""Of two that match, the first counts: /adjustments/…/end is an operator's."""
