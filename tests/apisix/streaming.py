"""`headrace serve` as processes of its own, nginx with the plugin in front, and a model server that says what a test has it say."""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import msgspec

from tests.apisix.nginx import Nginx, running_nginx
from tests.bench.processes import tree
from tests.e2e.envoy_process import short_directory
from tests.e2e.served import serving
from tests.envoy.stub_upstream import StubUpstream
from tests.transcripts.site import WAIT

MODEL = "llama-3.3-70b"
POLICY = """version: 1
models:
  - {name: llama-3.3-70b, price: {input: 0.6, output: 0.8}, max_output: 100}
budgets:
  - {name: everybody, per: [organisation], limit: {tokens: 1000000000}, window: month}
filters:
  - pii: {response: redact, entities: [EMAIL_ADDRESS], model: none}
  - budget: {}
  - usage: {on_hang_up: count}
"""
READING = POLICY.replace("  - pii: {response: redact, entities: [EMAIL_ADDRESS], model: none}\n", "")
"""Every event is read, and nothing is searched: the service is up sooner."""
USAGE = {"choices": [], "usage": {"prompt_tokens": 8, "completion_tokens": 5}}


def event(document: Mapping[str, Any]) -> bytes:
    return b"data: %b\n\n" % json.dumps(document).encode()


def delta(text: str) -> bytes:
    return event({"choices": [{"index": 0, "delta": {"content": text}}]})


DONE = event(USAGE) + b"data: [DONE]\n\n"


def words(said: bytes) -> str:
    """The words of a stream's events that have come whole."""
    found = []
    for line in said.decode().split("\n\n")[:-1]:
        data = line.removeprefix("data: ")
        if not line.startswith("data: ") or data == "[DONE]":
            continue
        for choice in json.loads(data).get("choices", ()):
            found.append(choice["delta"].get("content") or "")
    return "".join(found)


@dataclass
class Site:
    """closed and open: nginx that refuses what the service did not see, and one that lets it pass."""

    upstream: StubUpstream
    closed: Nginx
    open: Nginx
    service: int
    decisions: Path

    @asynccontextmanager
    async def stream(self, route: str, *, passing: bool = False) -> AsyncIterator[httpx.Response]:
        """A streamed chat. route: "plain" or "ai"."""
        body = {"model": MODEL, "messages": [{"role": "user", "content": "hi"}], "stream": True}
        async with (
            self.client(route, passing=passing) as client,
            client.stream("POST", "/v1/chat/completions", json=body) as answer,
        ):
            yield answer

    async def chat(self, route: str) -> httpx.Response:
        body = {"model": MODEL, "messages": [{"role": "user", "content": "hi"}]}
        async with self.client(route) as client:
            return await client.post("/v1/chat/completions", json=body)

    def client(self, route: str, *, passing: bool = False) -> httpx.AsyncClient:
        nginx = self.open if passing else self.closed
        transport = httpx.AsyncHTTPTransport(uds=str(getattr(nginx, route)), verify=False)
        return httpx.AsyncClient(base_url="http://gateway", transport=transport, timeout=WAIT)

    async def settled(self, answer: httpx.Response) -> tuple[str, str, Mapping[str, Any]]:
        """How an exchange ended: the outcome of its decision, that of its settlement, and the settlement's usage."""
        exchange, found = answer.headers["x-headrace-exchange"], dict[str, dict[str, Any]]()
        async with asyncio.timeout(WAIT):
            while not {"decision", "settlement"} <= found.keys():
                await asyncio.sleep(0.005)
                records = [msgspec.json.decode(line) for line in self.decisions.read_bytes().splitlines()]
                found = {record["kind"]: record for record in records if record.get("exchange") == exchange}
        settlement = found["settlement"]
        return found["decision"]["outcome"], settlement["outcome"], settlement.get("usage") or {}

    def kill(self) -> None:
        """Every process of the service, at once."""
        for pid in list(tree(self.service)):
            os.kill(pid, signal.SIGKILL)


@asynccontextmanager
async def streaming_site(policy: str = POLICY) -> AsyncIterator[Site]:
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(short_directory())
        upstream = await stack.enter_async_context(StubUpstream("standard"))
        process, ready = await stack.enter_async_context(serving(folder, policy, 1, ()))
        servers = {"standard": ("127.0.0.1", httpx.URL(upstream.url).port or 80)}
        settings = {"service": ready["addresses"]}
        passing = settings | {"failure_mode_allow": {"request": True, "response": True}}
        closed = await stack.enter_async_context(running_nginx(stack.enter_context(short_directory()), settings, servers))
        opened = await stack.enter_async_context(running_nginx(stack.enter_context(short_directory()), passing, servers))
        yield Site(upstream, closed, opened, process.pid, folder / "decisions.jsonl")
