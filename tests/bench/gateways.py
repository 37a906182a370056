"""The gateways that are compared. They differ in the processor; bare Envoy proxies and does nothing else."""

import asyncio
import contextlib
import json
import math
import re
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from string import Template
from typing import Any

import httpx

from headrace.ext_proc.engine import keys
from headrace.ext_proc.engine.key_files import write_keys
from headrace.ext_proc.envoy.config.bootstrap import bootstrap
from headrace.ext_proc.envoy.config.settings import Address, GatewaySettings, Upstream
from headrace.ext_proc.envoy.config.tree import tree
from headrace.ext_proc.envoy.process import EnvoyProcess
from headrace.ext_proc.envoy.transport import DEFAULT, Transport

from .processes import tied
from .rounds import Gateway
from .upstream import free_port

POLICY = Path(__file__).with_name("policy.yaml")
LOOPBACK = "127.0.0.1"
GRACE = 20.0  # seconds for a service to end by itself
START_TIME, FIRST_PAUSE = 20.0, 0.1  # seconds: for a gateway to come up alone, and between attempts
UPSTREAMS = ("standard", "high-memory")


def new_folder(parent: str | Path, name: str) -> Path:
    """For what a gateway or an upstream writes."""
    folder = Path(parent) / name
    folder.mkdir()
    return folder


@dataclass(frozen=True, slots=True)
class Plan:
    """One to be run: its Envoy's bootstrap, the command of its service (none: bare), the key that its callers show."""

    name: str
    bootstrap: Mapping[str, Any]
    settled: Callable[[], Awaitable[float]]
    command: Sequence[str] = ()
    key: str = "none"


def plan_bare(upstream: str, directory: Path) -> Plan:
    """Envoy and the upstream."""
    return Plan("bare", bare(upstream), nothing_to_settle)


async def nothing_to_settle() -> float:
    return math.inf


def plan_noop(upstream: str, directory: Path, transport: Transport = Transport.GRPCIO) -> Plan:
    """The floor of a processor in Python, behind the same configuration as Headrace; `noop-h2` on Headrace's own transport."""
    socket, count = directory / "noop.sock", directory / "settled"
    command = (sys.executable, "-m", "tests.bench.noop", transport, f"unix:{socket}", str(count))

    async def settled() -> float:
        return float(count.read_text())

    return Plan(_named("noop", transport, Transport.GRPCIO), full(upstream, socket), settled, command)


def plan_headrace(upstream: str, directory: Path, transport: Transport = DEFAULT, policy: Path = POLICY) -> Plan:
    """The full chain, as `headrace serve` runs it with one worker and its private Valkey."""
    socket, admin = directory / "worker.sock", f"{LOOPBACK}:{free_port()}"
    key = write_policy(directory, upstream, policy)
    headrace = Path(sys.executable).with_name("headrace")
    options = ("--listen", f"unix:{socket}", "--workers", "1", "--admin", admin, "--log-level", "warning", "--transport", transport)
    command = (str(headrace), "serve", str(directory / "policy.yaml"), *options)
    settled = partial(settlements, f"http://{admin}")
    return Plan(_named("headrace", transport, DEFAULT), full(upstream, socket), settled, command, key)


def _named(name: str, transport: Transport, usual: Transport) -> str:
    return name if transport is usual else f"{name}-{transport}"


def write_policy(directory: Path, upstream: str, policy: Path = POLICY) -> str:
    """`policy.yaml` and its keys in `directory`; the secret of the one key."""
    (directory / "policy.yaml").write_text(Template(policy.read_text()).substitute(upstream=upstream))
    pepper, secret = directory / keys.PEPPER_NAME, keys.new_secret()
    keys.make_pepper(pepper)
    digest = keys.digest(keys.load_pepper(pepper, {}), secret)
    record = keys.KeyRecord(id=keys.new_id(), digest=digest, team="mill", app="bench", user="ada")
    write_keys(directory / "keys.yaml", (record,))
    return secret


async def settlements(admin: str) -> float:
    """How many requests a service has settled. admin: its URL."""
    async with httpx.AsyncClient() as client:
        metrics = (await client.get(f"{admin}/metrics")).raise_for_status().text
    found = re.search(r'^headrace_settlements_total\{outcome="settled"\} (\S+)', metrics, re.MULTILINE)
    return float(found[1]) if found else 0.0


@contextlib.asynccontextmanager
async def run(plan: Plan, directory: Path, patience: float = START_TIME) -> AsyncIterator[Gateway]:
    """A gateway that has answered a first request within `patience` seconds. Raises RuntimeError, with its service's last words,
    when it does not."""
    async with contextlib.AsyncExitStack() as stack:
        roots = {}
        if plan.command:
            roots["service"] = await stack.enter_async_context(service(tied(*plan.command), directory / "service.log"))
        envoy = await stack.enter_async_context(EnvoyProcess(json.dumps(plan.bootstrap), directory))
        roots["envoy"] = envoy.pid
        gateway = Gateway(plan.name, f"http://{LOOPBACK}:{await envoy.port()}", roots, plan.key, plan.settled)
        if (answer := await first_answer(gateway, patience)).status_code != 200:
            words = (directory / "service.log").read_text()[-2000:] if plan.command else ""
            raise RuntimeError(f"{plan.name} does not answer: {answer.status_code} {answer.text}\n{words}")
        yield gateway


@contextlib.asynccontextmanager
async def service(command: Sequence[str], log: Path, **options: Any) -> AsyncIterator[int]:
    """The process of a running command whose output goes to `log`. options: `cwd`, `env`."""
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(*command, stdout=output, stderr=asyncio.subprocess.STDOUT, **options)
    try:
        yield process.pid
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            await asyncio.wait_for(process.wait(), GRACE)
        except TimeoutError:
            process.kill()
            await process.wait()


async def first_answer(gateway: Gateway, patience: float = START_TIME) -> httpx.Response:
    """The first good answer, else the last one before `patience` seconds are over."""
    chat = {"model": "llama-3.3-70b", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 64}
    headers = {"authorization": f"Bearer {gateway.key}", **gateway.headers}
    async with httpx.AsyncClient(base_url=gateway.url, headers=headers) as client:
        until = time.monotonic() + patience
        while (answer := await client.post("/v1/chat/completions", json=chat)).status_code != 200:
            if time.monotonic() > until:
                break
            await asyncio.sleep(FIRST_PAUSE)
        return answer


def _settings(upstream: str, service: Path) -> GatewaySettings:
    return GatewaySettings(
        upstreams=tuple(Upstream(name=name, url=upstream) for name in UPSTREAMS),
        service=(Address(path=str(service)),),
        listen=Address(host=LOOPBACK, port=0),
    )


def full(upstream: str, service: Path) -> dict[str, Any]:
    """The bootstrap as `headrace envoy config` makes it."""
    return tree(bootstrap(_settings(upstream, service)))


def bare(upstream: str) -> dict[str, Any]:
    """The same without anything of ours: a listener, the router, the upstream."""
    made = full(upstream, Path("/none"))
    resources = made["static_resources"]
    resources["clusters"] = [cluster for cluster in resources["clusters"] if cluster["name"] != "headrace"]
    manager = resources["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    manager["http_filters"] = [one for one in manager["http_filters"] if one["name"].endswith(".router")]
    del manager["access_log"], manager["early_header_mutation_extensions"]
    del manager["route_config"]["response_headers_to_add"]
    return made
