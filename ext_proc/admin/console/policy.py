"""The policy: what is in force, what was refused, how it came to be so, and what the candidate would do."""

import asyncio
from collections.abc import Sequence
from functools import reduce
from typing import Any

from starlette.responses import Response

from headrace.ext_proc.admin.console.frame import Visit, WorkerState
from headrace.ext_proc.admin.console.log import DecisionSource, LogUnreadable, Record
from headrace.ext_proc.admin.tokens import Role
from headrace.ext_proc.engine.comparing import Found
from headrace.ext_proc.engine.policy.lines import MAX_BYTES, read_bytes
from headrace.ext_proc.engine.policy.problems import PolicyErrors

SHOWN = 50
"""Revisions."""
TRIED = 20_000
"""Records of the candidate that are added up, the latest."""
EXAMPLES = 3


async def page(visit: Visit) -> Response:
    workers = visit.console.around.workers()
    history = await visit.console.revisions.all()
    may_read = visit.may(Role.OPERATOR) or visit.may(Role.APPROVER)
    text = await asyncio.to_thread(_text, visit) if may_read else None
    return visit.page(
        "policy.html", workers=workers, revisions=sorted({one.revision for one in workers if one.revision}),
        problems=_problems(workers), history=history[:SHOWN], more=max(len(history) - SHOWN, 0), may_read=may_read, text=text,
        file=visit.console.site.policy.name, candidate=await _candidate(visit.console.decisions),
    )  # fmt: skip


def _problems(workers: Sequence[WorkerState]) -> Sequence[str]:
    return list(dict.fromkeys(problem for worker in workers for problem in worker.problems))


def _text(visit: Visit) -> str | None:
    """The file as it is now; None where it cannot be read."""
    try:
        return read_bytes(visit.console.site.policy, MAX_BYTES).decode("utf-8", "replace")
    except PolicyErrors:
        return None


async def _candidate(source: DecisionSource | None) -> Found | None:
    """What the latest candidate would have done otherwise, by the decision log."""
    if source is None:
        return None
    try:
        records = await source.latest("candidate", TRIED)
    except LogUnreadable:
        return None
    return await asyncio.to_thread(_added_up, records) if records else None


def _added_up(records: Sequence[Record]) -> Found:
    """records: the latest first."""
    revisions = records[0]["revision"], records[0]["candidate"]
    own = [one for one in records if (one.get("revision"), one.get("candidate")) == revisions]

    def add(found: Found, record: Any) -> Found:
        found.add(record, EXAMPLES)
        return found

    return reduce(add, own, Found(*revisions))
