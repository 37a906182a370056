"""The whole path for a test: callers with keys, real Envoy, the service, a real Valkey, and two simulated pools."""

import asyncio
import contextlib
import json
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import redis.asyncio
from anthropic import AsyncAnthropic
from openai import AsyncOpenAI

from headrace.ext_proc.cli.simulate.books import Entry
from headrace.ext_proc.cli.simulate.server import SimulatedPool
from headrace.ext_proc.engine.key_store import put_key
from headrace.ext_proc.engine.keys import PEPPER_NAME, KeyRecord, digest, load_pepper, make_pepper, new_secret
from headrace.ext_proc.service.stack import Stack, StackOptions
from headrace.ext_proc.stores.redis import RedisStore
from tests.e2e.envoy_process import short_directory
from tests.transports import Chosen

CHAT, COMPLETIONS, RESPONSES = "/v1/chat/completions", "/v1/completions", "/v1/responses"
EMBEDDINGS, MESSAGES, MODELS = "/v1/embeddings", "/v1/messages", "/v1/models"
MODEL = "llama-3.3-70b"
PLENTY = 10**12
WATCHED = "watched"
"""A team whose streamed answers pass through the service, event by event; the others' never do."""
DEADLINE_S = 30.0
"""For conditions that hold within milliseconds on an idle machine."""

PATTERNS_ALONE: Mapping[str, Mapping[str, Any]] = {"pii": {"model": "none"}}
"""A language model takes longer over prompts of megabytes than a filter may; it has tests of its own."""

Policy = dict[str, Any]
_numbers = count(1)


def policy_of(upstreams: Mapping[str, str], **changes: Any) -> Policy:
    """The full chain over a catalogue of one model for each kind of call.

    changes: top-level members set instead; `of_upstreams` gives further members of single upstreams, by name.
    """
    further = changes.pop("of_upstreams", {})
    pools = [{"upstream": "standard", "max_tokens": 8192}, {"upstream": "large"}]
    # The pools count as OpenAI does.
    exact = {"tokenizer": "o200k_base", "template": "openai"}
    each = {"price": {"input": 0.6, "output": 0.8}, "max_output": 256, "pools": pools, **exact}
    return {
        "version": 1,
        "upstreams": {name: {"url": url, **further.get(name, {})} for name, url in upstreams.items()},
        "models": [
            {"name": MODEL, "context": 131072, **each},
            {"name": "claude-*", "context": 200000, **each},
            {"name": "boundless", **each},
            {"name": "text-embedding-3-small", "price": {"input": 0.02, "output": 0}, "max_output": 1, "pools": pools},
        ],
        "identity": [{"api_keys": {"store": True}}],
        "budgets": [
            {"name": "team-month", "per": ["team"], "limit": {"usd": 1_000_000}, "window": "month"},
            {"name": "user-month", "per": ["team", "user"], "limit": {"tokens": PLENTY}, "window": "month"},
        ],
        "filters": chain(),
        "overrides": [{"when": {"team": WATCHED}, "set": {"usage": {"on_hang_up": "count"}}}],
    } | changes


def chain(**settings: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The full chain; settings by filter."""
    names = ("identity", "pii", "budget", "routing", "usage")
    return [{name: {**PATTERNS_ALONE.get(name, {}), **settings.get(name, {})}} for name in names]


def lean_chain(**settings: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The chain without `pii`, whose detector takes its time to load."""
    return [entry for entry in chain(**settings) if "pii" not in entry]


def patient(filters: Sequence[Mapping[str, Mapping[str, Any]]]) -> list[dict[str, Any]]:
    """The chain with as much time for each filter as the gateway allows: for what must not depend on how busy the machine is."""
    return [{name: {**settings, "timeout_ms": 4000} for name, settings in entry.items()} for entry in filters]


@dataclass(frozen=True)
class Caller:
    """Somebody with an API key and counters nobody else draws on."""

    team: str
    user: str
    secret: str

    @property
    def headers(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.secret}"}


@dataclass(frozen=True)
class Site:
    """Everything of one stack. The pools live in the test's event loop, so their books are at hand."""

    stack: Stack
    standard: SimulatedPool
    large: SimulatedPool
    client: httpx.AsyncClient
    valkey: redis.asyncio.Redis
    store: RedisStore
    pepper: bytes

    async def caller(self, team: str = "research", **members: Any) -> Caller:
        """A new caller. members: of its key's record, such as `models`."""
        secret, user = new_secret(), f"user{next(_numbers)}"
        record = KeyRecord(id=f"key-{user}", digest=digest(self.pepper, secret), team=team, user=user, **members)
        await put_key(self.store, record)
        return Caller(team, user, secret)

    @contextlib.contextmanager
    def stopped_worker(self) -> Iterator[None]:
        """The service's worker hangs for the length of the block."""
        pid = self.stack.service.slots[0].pid
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(pid, signal.SIGCONT)

    async def kill_service(self) -> None:
        """As `kill -9` of the supervisor and its workers would: nobody starts another."""
        for slot in self.stack.service.slots:
            await slot.kill()

    def openai(self, caller: Caller) -> AsyncOpenAI:
        """The real SDK, as an application makes it, with its retries."""
        return AsyncOpenAI(base_url=f"{self.stack.url}/v1", api_key=caller.secret)

    def anthropic(self, caller: Caller) -> AsyncAnthropic:
        return AsyncAnthropic(base_url=self.stack.url, api_key=caller.secret)

    async def post(self, caller: Caller, body: Any, path: str = CHAT, **headers: str) -> httpx.Response:
        """body: a document, or bytes as they are. `x_simulate="x"` is the header x-simulate."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.client.post(path, content=content, headers={"content-type": "application/json"} | caller.headers | named)

    @contextlib.asynccontextmanager
    async def stream(
        self, caller: Caller, body: Mapping[str, Any], path: str = CHAT, **headers: str
    ) -> AsyncIterator[httpx.Response]:
        """A call whose answer is read as it comes; leaving the block before the end hangs up."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        async with self.client.stream("POST", path, json=dict(body), headers=caller.headers | named) as answer:
            yield answer

    @property
    def received(self) -> list[Entry]:
        """What reached the pools since the test began."""
        return [*self.standard.books.entries, *self.large.books.entries]

    @property
    def only_received(self) -> Entry:
        """The one request that reached the pools."""
        [entry] = self.received
        return entry

    async def ledger(self, counter: str) -> int:
        """What Valkey holds for a counter, `user-month:research/ann`, over all its windows; 0 for one never charged."""
        total = 0
        async for key in self.valkey.scan_iter("hr:{default}:fixed:*"):
            fields: Any = await self.valkey.hgetall(key)
            total += sum(int(amount) for field, amount in fields.items() if field.decode().partition(":")[2] == counter)
        return total

    async def spent(self, caller: Caller) -> int:
        """Tokens charged to the caller."""
        return await self.ledger(f"user-month:{caller.team}/{caller.user}")

    async def records(self, kind: str) -> list[dict[str, Any]]:
        """The decision log's records of one kind, as far as it is written."""
        lines = self.stack.decisions_path.read_bytes().split(b"\n")[:-1] if self.stack.decisions_path.exists() else []
        return [record for line in lines if (record := json.loads(line))["kind"] == kind]

    async def decisions(self, caller: Caller, least: int = 1) -> list[dict[str, Any]]:
        """The decisions on the caller's requests, once the log has so many."""
        found: list[dict[str, Any]] = []

        async def enough() -> bool:
            decisions = await self.records("decision")
            found[:] = [record for record in decisions if record.get("principal", {}).get("user") == caller.user]
            return len(found) >= least

        await until(enough, f"{least} decisions on {caller.user}")
        return found

    async def requests_seen(self) -> int:
        """Requests that Envoy has had from clients, ever."""
        line = await self.stack.envoy.admin("/stats?filter=^http.headrace.downstream_rq_total$")
        return int(line.rpartition(":")[2])

    async def settled(self, exchanges: Sequence[str]) -> list[dict[str, Any]]:
        """The settlement of each of these exchanges, in their order, once the log has them all."""
        found: dict[str, dict[str, Any]] = {}
        missing = set(exchanges)

        async def complete() -> bool:
            found.update({record["exchange"]: record for record in await self.records("settlement") if "exchange" in record})
            missing.difference_update(found)
            return not missing

        await until(complete, lambda: f"the settlements of {missing}, {len(missing)} of {len(exchanges)}")
        return [found[exchange] for exchange in exchanges]

    async def settlement(self, answer: httpx.Response) -> dict[str, Any]:
        """The settlement of an answer's exchange."""
        [record] = await self.settled([answer.headers["x-headrace-exchange"]])
        return record

    async def pools_idle(self) -> None:
        """Returns when no pool is writing an answer."""
        async with asyncio.timeout(DEADLINE_S):
            for pool in (self.standard, self.large):
                await pool.books.until(lambda books: not books.running)


async def until(holds: Callable[[], Awaitable[bool]], what: str | Callable[[], str]) -> None:
    """Return as soon as it holds; AssertionError when it does not within DEADLINE_S. what: said then."""
    deadline = asyncio.get_running_loop().time() + DEADLINE_S
    while not await holds():
        if asyncio.get_running_loop().time() > deadline:
            raise AssertionError(f"waited in vain for {what if isinstance(what, str) else what()}")
        await asyncio.sleep(0.02)


@contextlib.asynccontextmanager
async def running_site(**changes: Any) -> AsyncIterator[Site]:
    """The stack over two pools.

    changes: members of the policy; `upstreams` overrides single URLs, `workers` is the number of the service's processes and of
    Envoy's threads, `files` are texts beside the policy, by name.
    """
    files = changes.pop("files", {})
    upstreams, workers = changes.pop("upstreams", {}), changes.pop("workers", 1)
    with _policy_directory() as directory:
        async with SimulatedPool("standard") as standard, SimulatedPool("large") as large:
            for name, text in files.items():
                (directory / name).write_text(text)
            policy = directory / "policy.yaml"
            urls = {"standard": standard.url, "large": large.url} | upstreams
            policy.write_text(json.dumps(policy_of(urls, **changes)))
            options = StackOptions(workers=workers, concurrency=workers, transport=Chosen.now)
            async with Stack(policy, options) as stack, _clients(stack) as (client, valkey, store):
                pepper = load_pepper(directory / PEPPER_NAME, {})
                yield Site(stack, standard, large, client, valkey, store, pepper)


@contextlib.contextmanager
def _policy_directory() -> Iterator[Path]:
    with short_directory() as directory:
        make_pepper(directory / PEPPER_NAME)
        yield directory


@contextlib.asynccontextmanager
async def _clients(stack: Stack) -> AsyncIterator[tuple[httpx.AsyncClient, redis.asyncio.Redis, RedisStore]]:
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
    async with httpx.AsyncClient(base_url=stack.url, timeout=60, limits=limits) as client:
        valkey: redis.asyncio.Redis = redis.asyncio.Redis.from_url(stack.store_url)
        store = RedisStore(stack.store_url, timeout_s=DEADLINE_S)
        try:
            yield client, valkey, store
        finally:
            await store.close()
            await valkey.aclose()


def chat(text: str = "hi", **members: Any) -> dict[str, Any]:
    return {"model": MODEL, "messages": [{"role": "user", "content": text}]} | members
