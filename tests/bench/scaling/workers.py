"""1, 2 and 4 workers behind one Envoy thread: throughput by CPU time, so that two cores show what four would."""

import contextlib
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from headrace.ext_proc.envoy.config.bootstrap import bootstrap
from headrace.ext_proc.envoy.config.settings import Address, GatewaySettings, Upstream
from headrace.ext_proc.envoy.config.tree import tree
from headrace.ext_proc.service.addresses import worker_addresses
from tests.bench.gateways import LOOPBACK, UPSTREAMS, Plan, new_folder, run, settlements, write_policy
from tests.bench.load import load
from tests.bench.processes import cpu_by_part, pss_by_part
from tests.bench.rounds import CONNECTIONS, Gateway, rest, turned
from tests.bench.upstream import free_port, upstream

WARM_S = 2
MIB = 2**20


def plan(url: str, directory: Path, workers: int) -> Plan:
    """The full chain of the bench."""
    key, admin = write_policy(directory, url), f"{LOOPBACK}:{free_port()}"
    listen = Address(path=str(directory / "worker.sock"))
    settings = GatewaySettings(
        upstreams=tuple(Upstream(name=name, url=url) for name in UPSTREAMS),
        service=worker_addresses(listen, workers),
        listen=Address(host=LOOPBACK, port=0),
    )
    options = ("--listen", str(listen), "--workers", str(workers), "--admin", admin, "--log-level", "warning")
    headrace = str(Path(sys.executable).with_name("headrace"))
    command = (headrace, "serve", str(directory / "policy.yaml"), *options)
    return Plan(f"{workers}", tree(bootstrap(settings)), partial(settlements, f"http://{admin}"), command, key)


async def measure(numbers: Sequence[int], directory: Path, rounds: int, seconds: int) -> Sequence[Mapping[str, Any]]:
    """All of them up at the same time, loaded one at a time, in an order that turns."""
    async with contextlib.AsyncExitStack() as stack:
        _, url = await stack.enter_async_context(upstream(new_folder(directory, "upstream")))
        gateways = [await stack.enter_async_context(_up(url, directory, number)) for number in numbers]
        for gateway in gateways:
            await load(gateway.url, gateway.key, connections=CONNECTIONS, seconds=WARM_S)
        found: dict[str, list[Mapping[str, Any]]] = {gateway.name: [] for gateway in gateways}
        for number in range(rounds):
            for gateway in turned(gateways, number):
                found[gateway.name].append(await _sample(gateway, seconds))
        return [_row(gateway, found[gateway.name]) for gateway in gateways]


@contextlib.asynccontextmanager
async def _up(url: str, directory: Path, workers: int) -> AsyncIterator[Gateway]:
    folder = new_folder(directory, f"{workers}")
    async with run(plan(url, folder, workers), folder) as gateway:
        yield gateway


async def _sample(gateway: Gateway, seconds: int) -> Mapping[str, Any]:
    """Raises RuntimeError for a load that proves nothing."""
    await rest(gateway, 0)
    before, settled = cpu_by_part(gateway.roots), await gateway.settled()
    crowd = await load(gateway.url, gateway.key, connections=CONNECTIONS, seconds=seconds)
    problems = [*crowd.problems, *await rest(gateway, settled + crowd.requests)]
    if problems:
        raise RuntimeError(f"{gateway.name} workers: {'; '.join(problems)}")
    after = cpu_by_part(gateway.roots)
    cpu = {part: (after[part] - before[part]) / crowd.requests * 1_000 for part in after}
    return {"rps": crowd.rps, "cpu_s_per_1000": cpu}


def _row(gateway: Gateway, samples: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    parts = samples[0]["cpu_s_per_1000"]
    cpu = {part: round(median(sample["cpu_s_per_1000"][part] for sample in samples), 4) for part in parts}
    memory = {part: round(held / MIB, 1) for part, held in pss_by_part(gateway.roots).items()}
    rps = round(median(sample["rps"] for sample in samples), 1)
    return {"workers": int(gateway.name), "rps": rps, "cpu_s_per_1000": cpu, "pss_mb": memory}
