"""The console of a service: what it shows comes from the supervisor, which knows every worker."""

import asyncio
import secrets
from collections.abc import Mapping
from pathlib import Path

from starlette.types import ASGIApp

from headrace.ext_proc.admin.console.app import application
from headrace.ext_proc.admin.console.audit_log import AuditDirectory
from headrace.ext_proc.admin.console.counts import Counts
from headrace.ext_proc.admin.console.decision_file import DecisionFile
from headrace.ext_proc.admin.console.forms import Words
from headrace.ext_proc.admin.console.frame import Console, WorkerState
from headrace.ext_proc.admin.console.log import DecisionSource
from headrace.ext_proc.admin.console.revisions import Revisions
from headrace.ext_proc.admin.console.workshop import Workshop
from headrace.ext_proc.admin.operation import Site
from headrace.ext_proc.engine.load.board import Heard
from headrace.ext_proc.engine.policy.gateways import Gateway
from headrace.ext_proc.service.slot import Slot
from headrace.ext_proc.service.supervisor import Service
from headrace.ext_proc.telemetry.decisions import STDOUT


class ConsoleOf:
    """app: the pages. Between start and stop it remembers what was counted, and which policies were in force."""

    def __init__(self, service: Service, site: Site) -> None:
        self.site = site
        self._service = service
        self._counts = Counts(service.counts)
        self._revisions = Revisions(site.store, site.policy)
        self._workshop = Workshop()
        self._following: asyncio.Task[None] | None = None
        target = service.options.decisions
        self._file = DecisionFile(Path(target)) if target and target != STDOUT else None
        self._audit: tuple[str, AuditDirectory] | None = None
        words = Words(secrets.token_bytes(32))
        self.app: ASGIApp = application(Console(self, self._counts, self._revisions, self._workshop, words))

    @property
    def gateway(self) -> Gateway:
        return self._service.options.gateway

    @property
    def secure(self) -> bool:
        return self._service.options.admin_tls is not None

    @property
    def decisions(self) -> DecisionSource | None:
        """The decision log where there is a file of it, else the audit log of the policy in force."""
        if self._file is not None:
            return self._file
        path = next((slot.policy.audit for slot in self._service.slots if slot.policy and slot.policy.audit), "")
        if path and (self._audit is None or self._audit[0] != path):
            self._audit = path, AuditDirectory(Path(path))
        return self._audit[1] if path and self._audit else None

    def workers(self) -> list[WorkerState]:
        return [_state(slot) for slot in self._service.slots]

    def servers(self) -> Mapping[str, Heard | None]:
        """Of several workers the one that has asked last."""
        found: dict[str, Heard | None] = {}
        for name, heard in (pair for slot in self._service.slots for pair in slot.servers.items()):
            known = found.setdefault(name, heard)
            if heard is not None and (known is None or heard.read_ms > known.read_ms):
                found[name] = heard
        return dict(sorted(found.items()))

    def start(self) -> None:
        self._following = asyncio.create_task(self._counts.run(self._tell), name="console")

    async def stop(self) -> None:
        if self._following is not None:
            self._following.cancel()
            await asyncio.wait([self._following])
        await self._revisions.close()
        await self._workshop.close()

    def _tell(self) -> None:
        """A revision counts when every worker that serves has it."""
        states = [slot.policy for slot in self._service.slots if slot.ready]
        found = [state for state in states if state is not None]
        if found and len(found) == len(states) and len({state.revision for state in found}) == 1:
            self._revisions.tell(found[0].revision, min(state.loaded_ms for state in found), found[0].files)


def _state(slot: Slot) -> WorkerState:
    number, policy = slot.settings.number, slot.policy
    if policy is None:
        return WorkerState(number, slot.ready, slot.restarts, problems=tuple(slot.failed))
    problems = (*policy.problems, *slot.failed)
    return WorkerState(number, slot.ready, slot.restarts, policy.revision, policy.loaded_ms, problems)
