"""What is recorded of one exchange, and when: with `on_full: block` a request goes on once its decision is on disk, not before."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

from headrace.ext_proc.audit.errors import AuditUnavailable
from headrace.ext_proc.core.effects import Effect, Record
from headrace.ext_proc.core.events import Answer, Deliver, Event, Refuse, RequestBody, RequestHeaders
from headrace.ext_proc.core.exchange import Exchange, State
from headrace.ext_proc.core.verdict import Reply
from headrace.ext_proc.engine.step import step

if TYPE_CHECKING:
    from headrace.ext_proc.audit.log import AuditLog

FORWARDED: Final = "forwarded"
"""Kind of a record of a request that goes on while Headrace reads its answer; its `decision` follows when that has ended."""
DECISION: Final = "decision"
MOST_HASHED: Final = 64 * 1024 * 1024
"""Bytes of an answer that are held for its hash, as many as of one that is read whole."""

_CANNOT: Final = "The gateway cannot record this request at the moment, so it was refused. Please try again."
UNAVAILABLE: Final = Reply(503, "audit.unavailable", _CANNOT, retry_after=1)


class Witness:
    """Drives an exchange in the place of `step`, and records it."""

    def __init__(self, exchange: Exchange, log: "AuditLog") -> None:
        self._exchange = exchange
        self._log = log
        self._keeps_bodies = log.terms.bodies != "none"
        self._most = log.terms.settings.max_body_kb * 1024 if log.terms.bodies == "encrypted" else MOST_HASHED
        self._parts: dict[str, bytes] = {}
        self._answer = bytearray()
        self._decided = False
        self._recorded = False
        self._lost = False

    async def step(self, event: Event, *, deadline: float) -> Answer:
        """As `engine.step`. A request whose gateway gives up while the disk is waited for went nowhere."""
        answer = await step(self._exchange, event, deadline=deadline)
        if self._keeps_bodies:
            self._keep(event, answer)
        if self._decided or self._exchange.state in (State.START, State.AWAIT_BODY):
            return answer
        self._decided = True
        if not self._log.terms.blocks or await self._committed() or not isinstance(event, RequestHeaders | RequestBody):
            return answer
        return answer if isinstance(answer, Refuse) else self._exchange.retract(UNAVAILABLE)

    def close(self, effects: Sequence[Effect]) -> None:
        """The exchange is over. effects: what it caused. Of one that could not be recorded nothing more is: it was counted."""
        if self._lost:
            return
        for effect in effects:
            if isinstance(effect, Record) and not (effect.kind == DECISION and self._recorded):
                self._log.write(effect.kind, effect.members, self._rest() if effect.kind == DECISION else None)

    def _keep(self, event: Event, answer: Answer) -> None:
        if isinstance(event, RequestBody):
            self._parts["request"] = event.data
        elif isinstance(answer, Deliver) and len(self._answer) < self._most:
            self._answer += answer.data

    async def _committed(self) -> bool:
        """Whether the record is on disk. A refusal stands also where it is not; it is counted as dropped."""
        over = self._exchange.state is State.DONE
        record = self._exchange.decided()
        pending = self._log.pending(DECISION if over else FORWARDED, record.members, self._parts)
        try:
            await self._log.committed(pending)
        except AuditUnavailable:
            self._lost = True
            return False
        except asyncio.CancelledError:
            self._exchange.unsent()
            raise
        finally:
            if not pending.withdrawn:  # also where the gateway has given up meanwhile: what a batch has is not recorded again
                self._parts, self._recorded = {}, over
        return True

    def _rest(self) -> Mapping[str, bytes]:
        """The bodies that are not recorded yet."""
        return {**self._parts, **({"answer": bytes(self._answer)} if self._answer else {})}
