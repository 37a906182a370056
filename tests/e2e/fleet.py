"""Worker processes that share a store of any kind, real Envoy before them, a simulated pool behind: each can be killed.

Callers are named by headers, organisation included, so that every run of a test can have counters and a ledger of its own.
"""

import asyncio
import contextlib
import json
import os
import signal
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import httpx

from headrace.ext_proc.cli.simulate import SimulatedPool
from headrace.ext_proc.core.ledger import Charge, Entry
from headrace.ext_proc.core.ports import Store, StoreUnavailable
from headrace.ext_proc.core.principal import Principal
from headrace.ext_proc.engine.budgets.limits import MINUTE_MS, limits_of
from headrace.ext_proc.engine.clock import SystemClock
from headrace.ext_proc.engine.policy.models import PolicyDocument
from headrace.ext_proc.envoy.config.bootstrap import render_bootstrap
from headrace.ext_proc.envoy.config.settings import Address, GatewaySettings, Upstream
from headrace.ext_proc.envoy.process import EnvoyProcess
from headrace.ext_proc.stores.redis import RedisStore
from tests.e2e.envoy_process import short_directory
from tests.e2e.served import serving
from tests.e2e.site import CHAT, MODEL, until
from tests.service.waiting import workers_of
from tests.stores.servers import free_ports

CAP = 20
"""Tokens of answer that a request reserves."""
PATIENT_MS = 20_000
"""For filters: what is admitted shall not depend on how busy the machine is."""


def policy_of(budgets: Sequence[dict[str, Any]], **budget: Any) -> dict[str, Any]:
    """budget: settings of the filter."""
    return {
        "version": 1,
        "models": [{"name": MODEL, "price": {"input": 0.6, "output": 0.8}, "max_output": 256}],
        "identity": [{"headers": {"organisation": "x-org", "team": "x-team", "user": "x-user", "key": "x-key-id"}}],
        "budgets": list(budgets),
        "filters": [
            {"identity": {"timeout_ms": PATIENT_MS}},
            {"budget": {"timeout_ms": PATIENT_MS, **budget}},
            {"usage": {"timeout_ms": PATIENT_MS, "on_hang_up": "reserved"}},
        ],
    }


@dataclass
class Fleet:
    """supervisor: the process of `headrace serve`, whose children are the workers."""

    supervisor: asyncio.subprocess.Process
    store: Store
    pool: SimulatedPool
    policy: dict[str, Any]
    client: httpx.AsyncClient
    admin: str
    envoy: EnvoyProcess
    _bootstrap: str
    _folder: Path
    _exit: contextlib.AsyncExitStack
    envoys: int = field(default=1)

    async def chat(self, organisation: str, script: str = f"tokens={CAP}") -> httpx.Response:
        """One request of one caller."""
        body = {"model": MODEL, "messages": [{"role": "user", "content": "hi"}], "max_tokens": CAP}
        headers = {"x-org": organisation, "x-team": "research", "x-user": "ann", "x-simulate": script}
        return await self.client.post(CHAT, json=body, headers=headers)

    async def metrics(self) -> str:
        async with httpx.AsyncClient() as client:
            return (await client.get(f"{self.admin}/metrics")).text

    def workers(self) -> list[int]:
        """Their process ids."""
        return workers_of(self.supervisor.pid)

    def kill_worker(self, pid: int) -> None:
        """The supervisor starts another one."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)

    async def replace_envoy(self) -> None:
        """Kill Envoy, and start another one at the same port."""
        self.envoy.kill()
        await self.envoy.wait()
        folder = self._folder / f"envoy-{self.envoys}"
        folder.mkdir()
        self.envoys += 1
        self.envoy = await self._exit.enter_async_context(EnvoyProcess(self._bootstrap, folder))

    async def requests_of_workers(self) -> list[int]:
        """gRPC calls that each worker has had from the Envoy that runs now."""
        return [int(requests) for requests in await self._of_workers("rq_total")]

    async def healthy_workers(self) -> int:
        """As Envoy sees them."""
        return (await self._of_workers("health_flags")).count("healthy")

    async def _of_workers(self, figure: str) -> list[str]:
        lines = (await self.envoy.admin("/clusters")).splitlines()
        return [line.rpartition("::")[2] for line in lines if line.startswith("headrace::") and f"::{figure}::" in line]

    def charges(self, organisation: str) -> list[Charge]:
        """The caller's counters in the order of the policy's budgets; of nothing, for reading them."""
        now_ms, principal = SystemClock().now_ms(), Principal(organisation, "research", None, "ann", None)
        amounts: Any = dict.fromkeys(("tokens", "input_tokens", "output_tokens", "nano_usd", "requests", "concurrency"), 0)
        limits = limits_of(PolicyDocument.model_validate(self.policy), lambda where, what: None)
        return [limit.slot(principal, MODEL, now_ms // MINUTE_MS).charge(amounts) for limit in limits]

    async def used(self, organisation: str) -> tuple[int, ...]:
        """What the caller's counters hold, once the store answers."""
        while True:
            with contextlib.suppress(StoreUnavailable):
                return await self.store.read(organisation, self.charges(organisation), now_ms=SystemClock().now_ms())
            await asyncio.sleep(0.05)

    async def ledger(self, organisation: str) -> list[Entry]:
        """All of it."""
        found: list[Entry] = []
        while page := await self.store.entries(organisation, after=found[-1].id if found else ""):
            found += page
        return found

    async def closed(self, organisation: str, exchanges: Sequence[str]) -> list[Entry]:
        """The ledger, once it has all of these."""
        found: list[Entry] = []

        async def complete() -> bool:
            with contextlib.suppress(StoreUnavailable):
                found[:] = await self.ledger(organisation)
            return set(exchanges) <= {entry.members["exchange"] for entry in found}

        await until(complete, f"the records of {len(exchanges)} exchanges")
        return found


@contextlib.asynccontextmanager
async def fleet(
    store_url: str, policy: dict[str, Any], *, workers: int = 4, environment: Mapping[str, str] = MappingProxyType({})
) -> AsyncIterator[Fleet]:
    """Ready to be asked. environment: of the service's processes, besides this one's."""
    async with contextlib.AsyncExitStack() as exit:
        folder = exit.enter_context(short_directory())
        pool = await exit.enter_async_context(SimulatedPool("standard"))
        running = serving(folder, json.dumps(policy), workers, ("--store", store_url), environment)
        supervisor, ready = await exit.enter_async_context(running)
        (port,) = free_ports(1)
        settings = GatewaySettings(
            upstreams=(Upstream(name="standard", url=pool.url),),
            service=tuple(Address.parse(address) for address in ready["addresses"]),
            listen=Address(host="127.0.0.1", port=port),
        )
        bootstrap = render_bootstrap(settings)
        (folder / "envoy-0").mkdir()
        envoy = await exit.enter_async_context(EnvoyProcess(bootstrap, folder / "envoy-0"))
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
        client = await exit.enter_async_context(httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=60, limits=limits))
        store = RedisStore(store_url, timeout_s=30)
        exit.push_async_callback(store.close)
        yield Fleet(supervisor, store, pool, policy, client, ready["admin"], envoy, bootstrap, folder, exit)
