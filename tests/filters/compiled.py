"""Policies of the real filters, compiled from text, over a store in memory and a clock that stands still."""

import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar, TypeVarTuple

from headrace.ext_proc.core.exchange import Exchange
from headrace.ext_proc.core.needs import Capability
from headrace.ext_proc.core.ports import Store
from headrace.ext_proc.engine.guard import shield
from headrace.ext_proc.engine.load.latency import Latency
from headrace.ext_proc.engine.policy.compile import Policy, compile_policy
from headrace.ext_proc.engine.ratios import Ratios
from headrace.ext_proc.engine.registry import Ports, Registry
from headrace.ext_proc.stores.memory import MemoryStore

NOON_MS = 1_780_315_200_000
"""2026-06-01T12:00:00Z"""

Result = TypeVar("Result")
Args = TypeVarTuple("Args")


@dataclass
class ManualClock:
    now: int = NOON_MS

    def now_ms(self) -> int:
        return self.now


class Inline:
    """Heavy work at once, counted."""

    jobs = 0

    async def run(self, fn: Callable[[*Args], Result], *args: *Args) -> Result:
        self.jobs += 1
        return fn(*args)


def compiled(
    directory: Path,
    text: str,
    store: Store | None = None,
    clock: ManualClock | None = None,
    latency: Latency | None = None,
    ratios: Ratios | None = None,
) -> Policy:
    path = directory / "policy.yaml"
    path.write_text(textwrap.dedent(text), "utf-8")
    ports = Ports(store or MemoryStore(), clock or ManualClock(), Inline(), latency=latency or Latency(), ratios=ratios or Ratios())
    return compile_policy(path, Registry.installed(), ports)


def exchange_with(policy: Policy, capabilities: Capability = Capability.ACCESS_LOG, id: str = "e1") -> Exchange:
    return Exchange(id, policy, shield, capabilities=capabilities)
