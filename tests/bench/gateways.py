"""The three gateways that are compared. They differ in the processor; bare Envoy proxies and does nothing else."""

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from headrace.ext_proc.envoy.config.bootstrap import bootstrap
from headrace.ext_proc.envoy.config.settings import Address, GatewaySettings, Upstream
from headrace.ext_proc.envoy.process import EnvoyProcess

from .rounds import Gateway

HERE = Path(__file__).parent
LOOPBACK = "127.0.0.1"
FIRST_TRIES, FIRST_PAUSE = 200, 0.1  # a gateway has 20 s to come up
UPSTREAMS = ("standard", "high-memory")


@dataclass(frozen=True, slots=True)
class Plan:
    """One to be run: its Envoy's bootstrap, the command of its service (none: bare), the key that its callers show."""

    name: str
    bootstrap: Mapping[str, Any]
    command: Sequence[str] = ()
    key: str = "none"


def plan_bare(upstream: str, directory: Path) -> Plan:
    """Envoy and the upstream."""
    return Plan("bare", bare(upstream))


def plan_noop(upstream: str, directory: Path) -> Plan:
    """The floor of a processor in Python, behind the same configuration as Headrace."""
    socket = directory / "noop.sock"
    return Plan("noop", full(upstream, socket), (sys.executable, "-m", "tests.bench.noop", f"unix:{socket}"))


@contextlib.asynccontextmanager
async def run(plan: Plan, directory: Path) -> AsyncIterator[Gateway]:
    """A gateway that has answered a first request. Its service's output is in `service.log` of the directory.

    Raises RuntimeError when it does not answer.
    """
    async with contextlib.AsyncExitStack() as stack:
        roots = {}
        if plan.command:
            roots["service"] = await stack.enter_async_context(_service(plan.command, directory / "service.log"))
        envoy = await stack.enter_async_context(EnvoyProcess(json.dumps(plan.bootstrap), directory))
        roots["envoy"] = envoy.pid
        gateway = Gateway(plan.name, f"http://{LOOPBACK}:{await envoy.port()}", roots, plan.key)
        await _answering(gateway)
        yield gateway


@contextlib.asynccontextmanager
async def _service(command: Sequence[str], log: Path) -> AsyncIterator[int]:
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(*command, stdout=output, stderr=asyncio.subprocess.STDOUT)
    try:
        yield process.pid
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.wait()


async def _answering(gateway: Gateway) -> None:
    chat = {"model": "llama-3.3-70b", "messages": [{"role": "user", "content": "Hello"}]}
    headers = {"authorization": f"Bearer {gateway.key}"}
    answer = None
    async with httpx.AsyncClient(base_url=gateway.url, headers=headers) as client:
        for _ in range(FIRST_TRIES):
            answer = await client.post("/v1/chat/completions", json=chat)
            if answer.status_code == 200:
                return
            await asyncio.sleep(FIRST_PAUSE)
    raise RuntimeError(f"{gateway.name} does not answer: {answer.status_code if answer else ''} {answer.text if answer else ''}")


def _settings(upstream: str, service: Path) -> GatewaySettings:
    return GatewaySettings(
        upstreams=tuple(Upstream(name=name, url=upstream) for name in UPSTREAMS),
        service=(Address(path=str(service)),),
        listen=Address(host=LOOPBACK, port=0),
    )


def full(upstream: str, service: Path) -> dict[str, Any]:
    """The bootstrap as `headrace envoy config` makes it."""
    made: dict[str, Any] = json.loads(bootstrap(_settings(upstream, service)).to_json())
    return made


def bare(upstream: str) -> dict[str, Any]:
    """The same without anything of ours: a listener, the router, the upstream."""
    made = full(upstream, Path("/none"))
    resources = made["staticResources"]
    resources["clusters"] = [cluster for cluster in resources["clusters"] if cluster["name"] != "headrace"]
    manager = resources["listeners"][0]["filterChains"][0]["filters"][0]["typedConfig"]
    manager["httpFilters"] = [one for one in manager["httpFilters"] if one["name"].endswith(".router")]
    del manager["accessLog"], manager["earlyHeaderMutationExtensions"]
    del manager["routeConfig"]["responseHeadersToAdd"]
    return made
