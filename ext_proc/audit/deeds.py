"""What operators do through the admin port, in the audit log, too: a chain of the supervisor's own, begun with the first deed."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from headrace.ext_proc.audit.chain import Chain, Pending
from headrace.ext_proc.audit.errors import AuditError, NoAuditLog
from headrace.ext_proc.audit.opening import policy_terms
from headrace.ext_proc.audit.terms import Terms
from headrace.ext_proc.engine.policy.problems import PolicyErrors

log = logging.getLogger(__name__)

ADMIN: Final = "admin"
"""Kind of such a record, and the name of who writes it."""


class Deeds:
    """policy: the file that the service was started with, read anew for each deed. now_ms: epoch."""

    def __init__(self, policy: Path, now_ms: Callable[[], int]) -> None:
        self._policy = policy
        self._now_ms = now_ms
        self._chain: Chain | None = None
        self._one = asyncio.Lock()

    async def __call__(self, members: Mapping[str, Any]) -> None:
        """Returns when the record is on disk, or cannot be, which is logged: the deed itself is done by then."""
        async with self._one:
            try:
                await asyncio.to_thread(self._record, members)
            except (AuditError, PolicyErrors, OSError) as error:
                log.error("a deed is not in the audit log", extra={**members, "detail": str(error)})

    async def close(self) -> None:
        async with self._one:
            try:
                await asyncio.to_thread(self._close)
            except (AuditError, OSError) as error:
                log.error("audit log not closed", extra={"detail": str(error)})

    def _record(self, members: Mapping[str, Any]) -> None:
        terms = _terms(self._policy)
        if self._chain is not None and self._chain.terms != terms:
            self._close()
        if terms is None:
            return
        if self._chain is None:
            self._chain = Chain(terms, ADMIN, self._now_ms)
        self._chain.write([Pending(self._now_ms(), ADMIN, members)])

    def _close(self) -> None:
        old, self._chain = self._chain, None
        if old is not None:
            old.close()


def _terms(policy: Path) -> Terms | None:
    """None where the policy has no audit log. Raises PolicyErrors."""
    try:
        return policy_terms(policy)
    except NoAuditLog:
        return None
