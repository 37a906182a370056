"""The demo's course: the stack goes up, the scenes are played one by one, the burst at once."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

from headrace.ext_proc.admin.tokens import ROSTER, Role, fresh_token
from headrace.ext_proc.cli.simulate import SimulatedPool, parse
from headrace.ext_proc.engine.prices import NANO
from headrace.ext_proc.envoy.transport import Transport
from headrace.ext_proc.service.stack import Stack, StackOptions, read_document

from . import files, ledger
from .client import Application
from .evidence import DecisionLog, Exchange, gather
from .files import Files
from .ledger import Counter
from .scenes import BURST, BURST_SCENE, MODEL, SCENES, Scene

Tell = Callable[[str], None]
"""Hears what is being waited for."""


@dataclass(frozen=True, slots=True)
class Stage:
    """Everything that runs. token: of the admin API and the console."""

    stack: Stack
    files: Files
    pools: Sequence[SimulatedPool]
    application: Application
    log: DecisionLog
    token: str


@dataclass(frozen=True, slots=True)
class Burst:
    """Requests sent at once, and the store's counters when all were settled."""

    exchanges: Sequence[Exchange]
    counters: Sequence[Counter]

    @property
    def admitted(self) -> Sequence[Exchange]:
        return [exchange for exchange in self.exchanges if exchange.seen.status == 200]

    @property
    def refused(self) -> Sequence[Exchange]:
        return [exchange for exchange in self.exchanges if exchange.seen.status != 200]

    @property
    def upstream_tokens(self) -> int:
        """Prompt and answer, as the pools counted them."""
        entries = [exchange.received.entry for exchange in self.exchanges if exchange.received]
        return sum(entry.prompt_tokens + entry.completion_tokens for entry in entries)

    @property
    def settled_usd(self) -> Decimal:
        """As the settlements say."""
        return sum((Decimal(one.settlement.get("usd", "0")) for one in self.exchanges if one.settlement), Decimal())

    def used(self, unit: str) -> int:
        """What the store holds of the burst's caller, in units of the store."""
        return next(c.used for c in self.counters if c.caller == BURST_SCENE.caller and c.unit == unit)

    @property
    def as_expected(self) -> bool:
        """Some were admitted and some refused, each for its budget; the ledger holds what the pools counted, to the token."""
        refusals = {(one.seen.status, one.seen.code) for one in self.refused}
        return (
            0 < len(self.admitted) < len(self.exchanges)
            and refusals == {(429, "budget.exhausted")}
            and self.used("tokens") == self.upstream_tokens
            and self.used("nano_usd") == self.settled_usd * NANO
        )


@asynccontextmanager
async def stage(directory: Path, port: int, transport: Transport, tell: Tell) -> AsyncIterator[Stage]:
    """Two pools, the files, and the stack. Raises as Stack does, and OSError."""
    async with AsyncExitStack() as exit_stack:
        tell("starting two simulated pools")
        script = parse("tokens=24 pace=5")
        pools = [SimulatedPool(name, models=(MODEL,), default=script) for name in ("standard", "high-memory")]
        for pool in pools:
            await exit_stack.enter_async_context(pool)
        written = files.write(directory, *(pool.url for pool in pools))
        tell("starting Valkey, the service and Envoy")
        options = StackOptions(port=port, log_level="warning", transport=transport)
        stack = await exit_stack.enter_async_context(Stack(written.policy, options))
        application = Application(stack.url, written.secrets)
        exit_stack.push_async_callback(application.close)
        yield Stage(stack, written, pools, application, DecisionLog(stack.decisions_path), await _token(stack))


async def _token(stack: Stack) -> str:
    """An operator's, for as long as the demo's store is there."""
    now = datetime.now(UTC)
    fresh = fresh_token("demo", [Role.OPERATOR], now, now + timedelta(days=1), "demo")
    await stack.service.store.enrol(ROSTER, fresh.record.id, fresh.record.packed(), revision=0)
    return fresh.secret


async def scenes(on: Stage, tell: Tell) -> AsyncIterator[Exchange]:
    """One exchange after the other, each when it is settled. Raises NoRecordError and openai.APIConnectionError."""
    for scene in SCENES:
        yield await _play(on, scene, tell)


async def _play(on: Stage, scene: Scene, tell: Tell) -> Exchange:
    tell(f"{scene.title}: waiting for the answer")
    seen = await on.application.send(scene)
    tell(f"{scene.title}: waiting for the settlement")
    return await gather(scene, seen, on.log, on.pools)


async def burst(on: Stage, tell: Tell) -> Burst:
    """All at once. Raises as `scenes`, and StoreUnavailable."""
    tell(f"{BURST_SCENE.title}: waiting for the answers")
    seen = await asyncio.gather(*(on.application.send(BURST_SCENE) for _ in range(BURST)))
    tell(f"{BURST_SCENE.title}: waiting for the settlements")
    exchanges = await asyncio.gather(*(gather(BURST_SCENE, one, on.log, on.pools) for one in seen))
    return Burst(exchanges, await ledger.read(read_document(on.files.policy), on.stack.store_url))
