"""What a candidate on every exchange costs the callers of the policy in force: `python -m tests.bench.candidate`. Prints JSON.

Two services behind an Envoy each, alike but for a candidate with a share of 1. They are loaded in turn, by one caller, by many that
pause between their requests, and by as many as the worker can answer. Whatever else the machine does falls on both: the ratios of
the medians can be compared, the milliseconds cannot.
"""

import asyncio
import contextlib
import re
import sys
import tempfile
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Annotated

import httpx
import msgspec
import typer

from .gateways import Plan, plan_headrace, run
from .load import Load, load
from .report import machine, versions
from .rounds import Gateway, rest, total, turned
from .upstream import upstream

Tried = Callable[[], Awaitable[Mapping[str, int]]]
OUTCOMES = ("same", "different", "passed_over", "failed")
ACTION = "request: replace"


class Crowd(msgspec.Struct, frozen=True):
    """How many callers there are, and how long each pauses on average."""

    name: str
    connections: int
    pause_ms: int = 0


CROWDS = (Crowd("one caller", 1, 5), Crowd("64 callers that pause", 64, 200), Crowd("32 callers without a pause", 32))


class Sample(msgspec.Struct, frozen=True):
    """One crowd before one gateway. cpu_s: of the gateway, what it did after the load included."""

    load: Load
    cpu_s: float


def plan(name: str, url: str, directory: Path) -> Plan:
    """The bench's full chain; as `candidate` it has another policy beside it that blocks what this one replaces."""
    made = plan_headrace(url, directory)
    policy = directory / "policy.yaml"
    if name == "candidate":
        (directory / "next.yaml").write_text(policy.read_text().replace(ACTION, "request: block"))
        policy.write_text(policy.read_text() + "candidate: {file: next.yaml, share: 1}\n")
    return replace(made, name=name)


async def measure(rounds: int, seconds: int) -> dict[str, object]:
    """The document."""
    async with contextlib.AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="headrace-bench-")))
        _, url = await stack.enter_async_context(upstream(_made(folder / "upstream")))
        plans = {name: plan(name, url, _made(folder / name)) for name in ("alone", "candidate")}
        gateways = [await stack.enter_async_context(run(one, folder / name)) for name, one in plans.items()]
        tried = partial(outcomes, _admin(plans["candidate"]))
        found = [await _crowd(crowd, gateways, rounds, seconds, tried) for crowd in CROWDS]
    return {"rounds": rounds, "seconds": seconds, "crowds": found, "machine": machine(), "versions": versions()}


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def _admin(plan: Plan) -> str:
    return f"http://{plan.command[plan.command.index('--admin') + 1]}"


async def outcomes(admin: str) -> Mapping[str, int]:
    """Exchanges by what came of trying the candidate on them."""
    async with httpx.AsyncClient(base_url=admin) as client:
        text = (await client.get("/metrics")).raise_for_status().text
    found = dict(re.findall(r'^headrace_candidate_exchanges_total\{outcome="(\w+)"\} (\d+)', text, re.MULTILINE))
    return {name: int(found.get(name, 0)) for name in OUTCOMES}


async def _crowd(crowd: Crowd, gateways: Sequence[Gateway], rounds: int, seconds: int, tried: Tried) -> dict[str, object]:
    for gateway in gateways:
        await load(gateway.url, gateway.key, connections=crowd.connections, seconds=1, pause_ms=crowd.pause_ms)
        await rest(gateway, 0)
    before = await tried()
    samples: dict[str, list[Sample]] = {gateway.name: [] for gateway in gateways}
    for number in range(rounds):
        for gateway in turned(gateways, number):
            print(f"bench: {crowd.name}, round {number + 1} of {rounds}: {gateway.name}", file=sys.stderr, flush=True)
            samples[gateway.name].append(await _sample(gateway, crowd, seconds))
    after = await tried()
    return {
        "crowd": crowd.name,
        **compared(samples["alone"], samples["candidate"]),
        "tried": {name: after[name] - before[name] for name in OUTCOMES},
    }


async def _sample(gateway: Gateway, crowd: Crowd, seconds: int) -> Sample:
    """Raises RuntimeError for a load that proves nothing."""
    await rest(gateway, 0)
    before, settled = total(gateway), await gateway.settled()
    found = await load(gateway.url, gateway.key, connections=crowd.connections, seconds=seconds, pause_ms=crowd.pause_ms)
    if problems := [*found.problems, *await rest(gateway, settled + found.requests)]:
        raise RuntimeError(f"{gateway.name}, {crowd.name}: {'; '.join(problems)}")
    return Sample(found, total(gateway) - before)


def compared(alone: Sequence[Sample], candidate: Sequence[Sample]) -> dict[str, object]:
    """Medians over the rounds, and the ratios of those with a candidate to those without."""
    sides = {"alone": _medians(alone), "candidate": _medians(candidate)}
    ratios = {figure: round(sides["candidate"][figure] / sides["alone"][figure], 3) for figure in sides["alone"]}
    return {**sides, "ratio": ratios}


def _medians(samples: Sequence[Sample]) -> Mapping[str, float]:
    return {
        "rps": round(median(one.load.rps for one in samples), 1),
        "p50_ms": round(median(one.load.p50_ms for one in samples), 3),
        "p99_ms": round(median(one.load.p99_ms for one in samples), 3),
        "cpu_s_per_1000": round(median(one.cpu_s / one.load.requests * 1000 for one in samples), 4),
    }


def main(
    rounds: Annotated[int, typer.Option(min=1, help="of each crowd before each gateway, in turn")] = 7,
    seconds: Annotated[int, typer.Option(min=1, help="of each round")] = 5,
) -> None:
    """Measure what a candidate costs."""
    print(msgspec.json.format(msgspec.json.encode(asyncio.run(measure(rounds, seconds))), indent=2).decode())


if __name__ == "__main__":
    typer.run(main)
