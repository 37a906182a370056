"""A policy that is tried on live traffic beside the one in force: off the request path, and with no effect on it.

The request's half of an exchange is recorded, as references, while it runs; when the exchange is over, the candidate decides the
same request, on counters of its own. What the real answer used is settled there, too.
"""

import asyncio
import logging
import random
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from headrace.ext_proc.core.effects import Cause, Effect, Record, Release, Settle
from headrace.ext_proc.core.events import Event, RequestBody
from headrace.ext_proc.core.exchange import Exchange, State
from headrace.ext_proc.core.needs import Capability
from headrace.ext_proc.core.ports import Clock, Store
from headrace.ext_proc.engine.effects import EffectRunner
from headrace.ext_proc.engine.guard import shield
from headrace.ext_proc.engine.guard import told as tell
from headrace.ext_proc.engine.outcomes import KIND, changes, outcome_of
from headrace.ext_proc.engine.pacing import Pace
from headrace.ext_proc.engine.policy.compile import Policy
from headrace.ext_proc.engine.step import step
from headrace.ext_proc.stores.shadow import ShadowStore

MOST_WAITING = 256
"""Exchanges that wait to be tried; one more is passed over, and counted."""
MOST_BYTES = 64 * 1024 * 1024
"""Of their bodies, together."""
REMEMBERED = 20_000
"""Leases of the candidate that wait for what the real answer used; the oldest goes first, and stands as reserved."""
_KEPT = ("exchange", "revision", "start_ms", "principal", "endpoint", "model")
PATIENCE = 30.0
"""Seconds a hook may take where its filter's own deadline is not shorter: nobody waits."""

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Recording:
    """The request's half of one exchange. candidate: pinned, as the exchange's own policy is."""

    candidate: Policy
    capabilities: Capability
    events: list[Event] = field(default_factory=list)
    decision: Mapping[str, Any] = field(default_factory=dict)
    """The members of the real decision's record."""

    @property
    def size(self) -> int:
        return sum(len(event.data) for event in self.events if isinstance(event, RequestBody))


class CandidateRunner:
    """One per worker. policy: the one in force, which names the candidate. observe: called with a record of kind `candidate` for
    every exchange that was tried, or passed over. draw: from 0 to 1, for the share.
    """

    def __init__(
        self,
        policy: Callable[[], Policy],
        store: Store,
        clock: Clock,
        observe: Callable[[Record], None],
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._policy = policy
        self._settling = EffectRunner(ShadowStore(store), clock)
        self._observe = observe
        self._draw = draw
        self._pace = Pace()
        self._waiting: deque[Recording] = deque()
        self._bytes = 0
        self._task: asyncio.Task[None] | None = None
        self._early: dict[str, Settle | Release | None] = {}
        """By exchange, of those that wait: what came of the real lease, where it is known before the candidate has decided."""
        self._open: OrderedDict[str, None] = OrderedDict()

    def record(self, capabilities: Capability) -> Recording | None:
        """Where the policy in force has a candidate, and this exchange is among the share that it is tried on."""
        policy = self._policy()
        if policy.candidate is None or policy.document.candidate is None or self._draw() >= policy.document.candidate.share:
            return None
        return Recording(policy.candidate, capabilities)

    def offer(self, recording: Recording, effects: Sequence[Effect]) -> None:
        """The exchange is over. effects: what it caused."""
        recording.decision = next(effect.members for effect in effects if isinstance(effect, Record) and effect.kind == "decision")
        size = recording.size
        if not recording.events or len(self._waiting) >= MOST_WAITING or self._bytes + size > MOST_BYTES:
            self._tell(recording, {"outcome": "passed_over"})
            return
        self._bytes += size
        self._early[recording.decision["exchange"]] = None
        self._waiting.append(recording)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run(), name="candidate")

    def settled(self, effects: Sequence[Effect]) -> None:
        """What the real leases came to, from whoever settles them."""
        if not (self._early or self._open):
            return
        for effect in effects:
            if isinstance(effect, Record) or not effect.lease:
                continue
            if effect.lease in self._early:
                self._early[effect.lease] = effect
            elif self._open.pop(effect.lease, effect) is None:
                self._settling.submit([effect])

    async def drain(self, seconds: float) -> None:
        """Leaves what has not been tried; settles what has."""
        if self._task is not None:
            self._task.cancel()
        await self._settling.drain(seconds)

    async def _run(self) -> None:
        while self._waiting:
            await self._pace.moment()
            recording = self._waiting.popleft()
            self._bytes -= recording.size
            try:
                await self._try(recording)
            except Exception:
                log.exception("the candidate could not be tried")
                self._tell(recording, {"outcome": "failed"})
            finally:
                self._early.pop(recording.decision["exchange"], None)
                self._pace.done()

    async def _try(self, recording: Recording) -> None:
        exchange = Exchange(recording.decision["exchange"], recording.candidate, shield, capabilities=recording.capabilities)
        for event in recording.events:
            if exchange.state in (State.START, State.AWAIT_BODY):
                await step(exchange, event, deadline=asyncio.get_running_loop().time() + PATIENCE)
        effects = exchange.close(Cause.HANDED_OFF)
        decision = next(effect for effect in effects if isinstance(effect, Record) and effect.kind == "decision")
        self._follow(recording, decision.members, effects)
        found = list(changes(outcome_of(recording.decision), outcome_of(decision.members)))
        said = {name: decision.members[name] for name in ("reason", "steps") if name in decision.members}
        self._tell(recording, {"outcome": "different" if found else "same", "changes": found, **said})

    def _follow(self, recording: Recording, decision: Mapping[str, Any], effects: Sequence[Effect]) -> None:
        """The candidate's lease ends as the real one does; without a real one, or where the candidate refuses, at once."""
        id = recording.decision["exchange"]
        if decision["outcome"] == "refused":
            self._settling.submit([effect for effect in effects if isinstance(effect, Release)])
        elif "reserved" not in decision:
            return
        elif (early := self._early.get(id)) is not None:
            self._settling.submit([early])
        elif recording.decision["outcome"] == "refused" or "reserved" not in recording.decision:
            organisation = decision.get("principal", {}).get("organisation", "default")
            self._settling.submit([Release(organisation, id)])
        else:
            self._open[id] = None
            if len(self._open) > REMEMBERED:
                self._open.popitem(last=False)

    def _tell(self, recording: Recording, members: Mapping[str, Any]) -> None:
        real = recording.decision
        known = {name: real[name] for name in _KEPT if name in real}
        tell([self._observe], Record(KIND, {**known, "candidate": recording.candidate.revision, **members}))
