"""The table of operations."""

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

from headrace.ext_proc.admin import caller, keys, usage
from headrace.ext_proc.admin.operation import Nothing, Operation
from headrace.ext_proc.admin.tokens import Role

VIEWER, OPERATOR, APPROVER = Role.VIEWER, Role.OPERATOR, Role.APPROVER

OPERATIONS: Sequence[Operation[Any, Any]] = (
    Operation("showCaller", "GET", "/caller", VIEWER, "Who I am, and what I may.", caller.show_caller, caller.Caller, Nothing),
    Operation("listKeys", "GET", "/keys", VIEWER, "List keys.", keys.list_keys, keys.Keys, keys.KeyQuery),
    Operation(
        "createKey", "POST", "/keys", OPERATOR, "Make a key; the answer shows it, this once.",
        keys.create_key, keys.KeyWithSecret, Nothing, keys.NewKey, HTTPStatus.CREATED, ("conflict",),
    ),
    Operation("showKey", "GET", "/keys/{id}", VIEWER, "Show a key.", keys.show_key, keys.Key, Nothing, raises=("not_found",)),
    Operation(
        "rotateKey", "POST", "/keys/{id}/rotate", OPERATOR, "Make a key for the same caller; the old one ends after an overlap.",
        keys.rotate_key, keys.RotatedKey, Nothing, keys.Rotation, HTTPStatus.CREATED, ("not_found", "conflict"),
    ),
    Operation(
        "revokeKey", "POST", "/keys/{id}/revoke", OPERATOR, "End a key now; repeated, it changes nothing.",
        keys.revoke_key, keys.Key, Nothing, raises=("not_found", "conflict"),
    ),
    Operation(
        "showUsage", "GET", "/usage", VIEWER, "What was used and what it cost.", usage.show_usage, usage.Usage, usage.UsageQuery,
    ),
)  # fmt: skip
