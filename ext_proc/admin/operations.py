"""The table of operations."""

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

from headrace.ext_proc.admin import adjustments as adj
from headrace.ext_proc.admin import audit, budgets, caller, keys, usage
from headrace.ext_proc.admin.operation import Nothing, Operation
from headrace.ext_proc.admin.tokens import Role

VIEWER, OPERATOR, APPROVER = Role.VIEWER, Role.OPERATOR, Role.APPROVER
CREATED = HTTPStatus.CREATED

OPERATIONS: Sequence[Operation[Any, Any]] = (
    Operation("showCaller", "GET", "/caller", VIEWER, "Who I am, and what I may.", caller.show_caller, caller.Caller, Nothing),
    Operation("listKeys", "GET", "/keys", VIEWER, "List keys.", keys.list_keys, keys.Keys, keys.KeyQuery),
    Operation(
        "createKey", "POST", "/keys", OPERATOR, "Make a key; the answer shows it, this once.",
        keys.create_key, keys.KeyWithSecret, Nothing, keys.NewKey, CREATED, ("conflict",),
    ),
    Operation("showKey", "GET", "/keys/{id}", VIEWER, "Show a key.", keys.show_key, keys.Key, Nothing, raises=("not_found",)),
    Operation(
        "rotateKey", "POST", "/keys/{id}/rotate", OPERATOR, "Make a key for the same caller; the old one ends after an overlap.",
        keys.rotate_key, keys.RotatedKey, Nothing, keys.Rotation, CREATED, ("not_found", "conflict"),
    ),
    Operation(
        "revokeKey", "POST", "/keys/{id}/revoke", OPERATOR, "End a key now; repeated, it changes nothing.",
        keys.revoke_key, keys.Key, Nothing, raises=("not_found", "conflict"),
    ),
    Operation(
        "showBudgets", "GET", "/budgets", VIEWER, "How budgets stand.",
        budgets.show_budgets, budgets.Standings, budgets.BudgetQuery, raises=("not_found", "conflict"),
    ),
    Operation(
        "raiseBudget", "POST", "/budgets/{name}/raise", OPERATOR, "Add to a limit for a time.",
        adj.raise_budget, adj.Adjustment, Nothing, adj.AskedAmount, CREATED, ("not_found", "conflict"),
    ),
    Operation(
        "setBudget", "POST", "/budgets/{name}/set", OPERATOR, "Give another limit for a time.",
        adj.set_budget, adj.Adjustment, Nothing, adj.AskedAmount, CREATED, ("not_found", "conflict"),
    ),
    Operation(
        "resetBudget", "POST", "/budgets/{name}/reset", OPERATOR, "Let a caller's running window begin anew.",
        adj.reset_budget, adj.Adjustment, Nothing, adj.AskedReset, CREATED, ("not_found", "conflict"),
    ),
    Operation(
        "listAdjustments", "GET", "/adjustments", VIEWER, "List changes of budgets; `state=pending` for those that wait.",
        adj.list_adjustments, adj.Adjustments, adj.AdjustmentQuery, raises=("conflict",),
    ),
    Operation(
        "approveAdjustment", "POST", "/adjustments/{id}/approve", APPROVER, "Put in force what somebody else has asked for.",
        adj.approve_adjustment, adj.Adjustment, Nothing, raises=("not_found", "not_yours", "conflict"),
    ),
    Operation(
        "rejectAdjustment", "POST", "/adjustments/{id}/reject", APPROVER, "Refuse what somebody else has asked for.",
        adj.reject_adjustment, adj.Adjustment, Nothing, raises=("not_found", "not_yours", "conflict"),
    ),
    Operation(
        "endAdjustment", "POST", "/adjustments/{id}/end", OPERATOR, "End a change before its time.",
        adj.end_adjustment, adj.Adjustment, Nothing, raises=("not_found", "conflict"),
    ),
    Operation(
        "showAudit", "GET", "/audit", VIEWER, "What was done, and by whom.", audit.show_audit, audit.AuditTrail, audit.AuditQuery,
    ),
    Operation(
        "showUsage", "GET", "/usage", VIEWER, "What was used and what it cost.", usage.show_usage, usage.Usage, usage.UsageQuery,
    ),
)  # fmt: skip
