"""`headrace serve` as its own process, real Envoy in front of it, and a simulated pool behind."""

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import httpx

from headrace.ext_proc.cli.simulate import SimulatedPool
from headrace.ext_proc.envoy.config.bootstrap import render_bootstrap
from headrace.ext_proc.envoy.config.settings import Address, GatewaySettings, Upstream
from tests.e2e.envoy_process import running_envoy, short_directory
from tests.transports import Chosen

HEADRACE = (sys.executable, "-c", "from headrace.ext_proc.cli import main; main()")
MODEL = "llama-3.3-70b"
POLICY = """version: 1
models:
  - {name: llama-3.3-70b, price: {input: 0.6, output: 0.8}, max_output: 256}
budgets:
  - {name: everybody, per: [organisation], limit: {tokens: 1000000000}, window: month}
filters:
  - budget: {}
  - usage: {usage_chunk: remove}
"""
"""`remove` has streams that did not ask for usage pass through the service, event by event."""


LOG = "service.log"
"""In the folder: what the service wrote to standard error after it was ready."""
AGAIN_S = 0.2
"""Two signals in a row may arrive as one."""


class Log:
    """A process's standard error, line by line as it comes."""

    def __init__(self, stream: asyncio.StreamReader) -> None:
        self.lines: list[dict[str, Any]] = []
        self._stream = stream

    async def line(self, message: str) -> dict[str, Any]:
        """The first line with this message, from those that have not been read. Fails when the process ends before."""
        while raw := await self._stream.readline():
            self.lines.append(json.loads(raw))
            if self.lines[-1]["message"] == message:
                return self.lines[-1]
        raise AssertionError(f"the process ended without saying {message!r}: {self.lines}")


@dataclass(frozen=True)
class Served:
    process: asyncio.subprocess.Process
    pool: SimulatedPool
    client: httpx.AsyncClient
    admin: httpx.AsyncClient
    folder: Path

    def stream(self, script: str, **headers: str) -> Any:
        """A streamed chat that does not ask for usage, as a context manager."""
        body = {"model": MODEL, "messages": [{"role": "user", "content": "hi"}], "stream": True}
        return self.client.stream("POST", "/v1/chat/completions", json=body, headers={"x-simulate": script} | headers)

    async def chat(self) -> httpx.Response:
        body = {"model": MODEL, "messages": [{"role": "user", "content": "hi"}]}
        return await self.client.post("/v1/chat/completions", json=body)

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def records(self, kind: str) -> list[dict[str, Any]]:
        lines = (self.folder / "decisions.jsonl").read_text().splitlines()
        return [record for line in lines if (record := json.loads(line))["kind"] == kind]

    async def metrics(self) -> str:
        return (await self.admin.get("/metrics")).text


@asynccontextmanager
async def served(*options: str, workers: int = 1, policy: str = POLICY) -> AsyncIterator[Served]:
    """options: further ones of `headrace serve`."""
    with short_directory() as folder:
        async with SimulatedPool("standard") as pool, serving(folder, policy, workers, options) as (process, ready):
            settings = GatewaySettings(
                upstreams=(Upstream(name="standard", url=pool.url),),
                service=tuple(Address.parse(address) for address in ready["addresses"]),
                listen=Address(host="127.0.0.1", port=0),
            )
            async with running_envoy(render_bootstrap(settings)) as envoy:
                base = f"http://127.0.0.1:{await envoy.port()}"
                clients = httpx.AsyncClient(base_url=base, timeout=30), httpx.AsyncClient(base_url=ready["admin"])
                async with clients[0] as client, clients[1] as admin:
                    yield Served(process, pool, client, admin, folder)


@asynccontextmanager
async def serving(
    folder: Path, policy: str, workers: int, options: tuple[str, ...], environment: Mapping[str, str] = MappingProxyType({})
) -> AsyncIterator[tuple[asyncio.subprocess.Process, dict[str, Any]]]:
    """The process, and the line that says that it serves. environment: of it and its workers, besides this process's."""
    (folder / "policy.yaml").write_text(policy)
    process = await asyncio.create_subprocess_exec(
        *HEADRACE, "serve", str(folder / "policy.yaml"), "--listen", f"unix:{folder}/run/worker.sock", "--workers", str(workers),
        "--admin", "127.0.0.1:0", "--decisions", str(folder / "decisions.jsonl"), "--transport", Chosen.now, *options,
        stderr=asyncio.subprocess.PIPE, env={**os.environ, "TMPDIR": str(folder), **environment},
    )  # fmt: skip
    assert process.stderr is not None
    log = Log(process.stderr)
    try:
        ready = await log.line("serving")
        following = asyncio.create_task(_drain(process.stderr, folder / LOG))
        yield process, ready
        following.cancel()
    finally:
        await ended(process)


async def _drain(stream: asyncio.StreamReader, into: Path) -> None:
    """So that a process that says much is not held up."""
    with into.open("ab", buffering=0) as file:
        while line := await stream.readline():
            file.write(line)


async def ended(process: asyncio.subprocess.Process) -> None:
    """Asks the process to end, more than once where it takes its time; returns when it has."""
    while process.returncode is None:
        process.terminate()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), AGAIN_S)
