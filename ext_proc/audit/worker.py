"""The audit log as the policy in force wants it: opened, changed and closed with it."""

import asyncio
import errno
import logging
from typing import TYPE_CHECKING, Final

from headrace.ext_proc.audit.errors import AuditError
from headrace.ext_proc.audit.witness import DECISION, Witness
from headrace.ext_proc.core.effects import Record
from headrace.ext_proc.core.exchange import Exchange
from headrace.ext_proc.core.ports import Clock

if TYPE_CHECKING:  # 8 MB that policies without an audit log do without
    from headrace.ext_proc.audit.chain import Chain
    from headrace.ext_proc.audit.log import AuditLog, Meters
    from headrace.ext_proc.audit.terms import Terms

log = logging.getLogger(__name__)

AGAIN_S: Final = 1.0
"""Between two tries to open the log that a changed policy names; until then the old one goes on."""
NOT_CHANGED: Final = "audit log not opened, the one before goes on"
NOT_BEGUN: Final = "audit log not opened, records are lost until there is room"
FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
"""What somebody mends by making room."""
POLICY: Final = "policy"
"""Kind of a record that says which policy is in force from there on."""
Wanted = tuple["Terms | None", str]
"""What a policy says of the log, and the policy's revision."""
_OWN: Final = frozenset({DECISION, "pii"})
"""Kinds that a witness records."""


class Audits:
    """One per worker. worker: its number, or another process's name."""

    def __init__(self, worker: str, clock: Clock, meters: "Meters") -> None:
        self._worker = worker
        self._clock = clock
        self._meters = meters
        self._log: AuditLog | None = None
        self._missed: int | None = None
        """Records lost since the start, while the disk has had no room for the log; None once it is open."""
        self._over = False
        self._wanted: Wanted | None = None
        self._following: asyncio.Task[None] | None = None

    @property
    def depth(self) -> int:
        return self._log.depth if self._log is not None else 0

    def start(self, terms: "Terms | None", revision: str) -> None:
        """Raises AuditError where the log cannot be written: a service that promises to record must not start without.

        Where records may be lost (`on_full: drop-and-count`) a full disk is no reason: the log begins once there is room.
        """
        if terms is None:
            return
        try:
            self._open(self._begun(terms), revision)
        except OSError as error:
            if not terms.blocks and error.errno in FULL:
                self._missed = 0
                self.follow(terms, revision)
                return
            raise AuditError(f"the audit log {terms.directory} cannot be written: {error.strerror or error}") from None

    def follow(self, terms: "Terms | None", revision: str) -> None:
        """Another policy is in force. One change after the other: a log that is being ended is ended first."""
        self._wanted = terms, revision
        if self._following is None or self._following.done():
            self._following = asyncio.create_task(self._follow(), name="audit policy")

    def witness(self, exchange: Exchange) -> Witness | None:
        """None where nothing is recorded."""
        self._miss()
        return None if self._log is None else Witness(exchange, self._log)

    def observe(self, record: Record) -> None:
        """An observer of the effect runner: settlements, and what is not one exchange's."""
        if self._log is not None and record.kind not in _OWN:
            self._log.write(record.kind, record.members)
        elif record.kind not in _OWN:
            self._miss()

    def _miss(self) -> None:
        if self._missed is not None:
            self._missed += 1
            self._meters.dropped(1)

    async def close(self) -> None:
        self._over = True
        if self._following is not None:
            await self._following
        await self._close()

    def _begun(self, terms: "Terms") -> "Chain":
        """Raises AuditError and OSError."""
        from headrace.ext_proc.audit.chain import Chain

        return Chain(terms, self._worker, self._clock.now_ms)

    def _open(self, chain: "Chain", revision: str) -> None:
        from headrace.ext_proc.audit.log import AuditLog

        self._log = AuditLog(chain, self._clock.now_ms, self._meters, self._missed or 0)
        self._missed = None
        self._log.write(POLICY, {"revision": revision})

    async def _follow(self) -> None:
        while self._wanted is not None and not self._over:
            wanted, self._wanted = self._wanted, None
            await self._become(*wanted)

    async def _become(self, terms: "Terms | None", revision: str) -> None:
        if terms is None:
            self._missed = None
            await self._close()
            return
        if self._log is not None and self._log.terms == terms:
            self._log.write(POLICY, {"revision": revision})
            return
        if (chain := await self._chain(terms)) is not None:
            await self._close()
            self._open(chain, revision)

    async def _chain(self, terms: "Terms") -> "Chain | None":
        """None where something else is wanted by now."""
        while self._wanted is None and not self._over:
            try:
                return await asyncio.to_thread(self._begun, terms)
            except (OSError, AuditError) as error:
                log.error(NOT_CHANGED if self._missed is None else NOT_BEGUN, extra={"detail": str(error)})
                self._meters.failed()
                await asyncio.sleep(AGAIN_S)
        return None

    async def _close(self) -> None:
        old, self._log = self._log, None
        if old is not None:
            await old.close()
