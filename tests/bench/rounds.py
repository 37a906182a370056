"""The measurement: every gateway runs, one at a time is loaded, in an order that turns from round to round."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from .figures import Sample
from .load import load
from .processes import cpu_by_part

T = TypeVar("T")

CONNECTIONS = 32
REST_PAUSE = 0.25  # seconds
REST_TRIES = 60  # 15 s
REST_CPU = 0.02  # CPU seconds in a pause: two ticks of the kernel's clock, for health checks and timers


@dataclass(frozen=True, slots=True)
class Gateway:
    """A gateway that runs.

    roots: part → the process that has all of the part's processes below it. settled: how many requests have been settled so
    far; inf for a gateway that settles nothing. headers: what its callers send beside the key.
    """

    name: str
    url: str
    roots: Mapping[str, int]
    key: str
    settled: Callable[[], Awaitable[float]]
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Effort:
    """How long everything takes, in seconds, and how many rounds there are."""

    rounds: int
    crowd: int
    alone: int
    warm_up: int


FULL = Effort(rounds=3, crowd=6, alone=4, warm_up=3)
QUICK = Effort(rounds=1, crowd=1, alone=1, warm_up=1)


async def measure(gateways: Sequence[Gateway], effort: Effort, tell: Callable[[str], None]) -> dict[str, list[Sample]]:
    """Samples by gateway name, one per round. `tell` hears what is being done."""
    for gateway in gateways:
        tell(f"warming up {gateway.name}")
        await load(gateway.url, gateway.key, connections=CONNECTIONS, seconds=effort.warm_up, headers=gateway.headers)
    samples: dict[str, list[Sample]] = {gateway.name: [] for gateway in gateways}
    for number in range(effort.rounds):
        for gateway in turned(gateways, number):
            tell(f"round {number + 1} of {effort.rounds}: {gateway.name}")
            samples[gateway.name].append(await _sample(gateway, effort))
    return samples


def turned(gateways: Sequence[T], by: int) -> Sequence[T]:
    """Another one begins each round, so that a machine that slows down slows all alike."""
    start = by % len(gateways)
    return [*gateways[start:], *gateways[:start]]


async def _sample(gateway: Gateway, effort: Effort) -> Sample:
    await rest(gateway, 0)
    before, settled = cpu_by_part(gateway.roots), await gateway.settled()
    crowd = await load(gateway.url, gateway.key, connections=CONNECTIONS, seconds=effort.crowd, headers=gateway.headers)
    problems = await rest(gateway, settled + crowd.requests)
    after = cpu_by_part(gateway.roots)
    alone = await load(gateway.url, gateway.key, connections=1, seconds=effort.alone, headers=gateway.headers)
    return Sample(crowd, alone, {part: after[part] - before.get(part, 0.0) for part in after}, problems)


async def rest(gateway: Gateway, settled: float) -> list[str]:
    """Wait until the gateway has nothing left to do and has settled so many requests. What is wrong if that does not come."""
    spent = total(gateway)
    for _ in range(REST_TRIES):
        await asyncio.sleep(REST_PAUSE)
        before, spent = spent, total(gateway)
        if spent - before <= REST_CPU and await gateway.settled() >= settled:
            return []
    if (found := await gateway.settled()) < settled:
        return [f"{settled - found:.0f} requests were not settled"]
    return ["it did not come to rest after the load"]


def total(gateway: Gateway) -> float:
    """CPU seconds of all its processes."""
    return sum(cpu_by_part(gateway.roots).values())
