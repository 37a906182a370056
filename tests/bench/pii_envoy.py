"""`python -m tests.bench.pii_envoy`: what the PII filter adds through real Envoy: to streams, to small requests beside a large one.

Streams: a model that sends its next event when the caller has the last one. A comment follows each event in the same write; it
passes at its place, so it comes when the event has been searched, whatever of its text is held back. The same stream through bare
Envoy, through Headrace with a filter that reads every event, and with `pii`.

Small requests: one new message of 240 characters with a name at a time, some 20 a second: alone; beside a process that has nothing
to do with them and computes all the time, at the priority of those that search (where a model reads, two that run it); and while
prompts of 400 KB that the worker has not seen are searched, which come from a process of their own. In turn, in rounds. The answers
to all come from nginx. The same through bare Envoy and a no-op processor. Prints one JSON document.
"""

import asyncio
import contextlib
import json
import re
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import httpx

from headrace.ext_proc.envoy.config.bootstrap import bootstrap
from headrace.ext_proc.envoy.config.settings import Address, GatewaySettings, Upstream
from headrace.ext_proc.envoy.config.tree import tree
from headrace.ext_proc.envoy.transport import Transport
from headrace.filters.pii.models.names import default_models
from tests.bench.gateways import new_folder
from tests.envoy.stub_upstream import Received, Reply, StubUpstream

from .apisix_streams import STREAM_POLICY
from .gateways import LOOPBACK, UPSTREAMS, Plan, plan_bare, plan_noop, run
from .large_caller import large_prompts
from .pii import named
from .pii_streams import EMAIL, PROSE
from .processes import tied
from .rounds import Gateway
from .upstream import free_port, upstream

MODEL = "llama-3.3-70b"
PATTERNS = f"""version: 1
models: [{{name: {MODEL}}}]
filters:
  - pii: {{request: replace, response: redact, model: none}}
"""
BESIDE = f"""version: 1
models: [{{name: {MODEL}}}]
filters:
  - pii: {{request: replace, model: %s, timeout_ms: 30000}}
"""
EVENTS, ROUNDS, SMALL_ROUNDS = 600, 5, 8
SMALL, EVERY_S = 100, 0.05
"""Of one round."""
LOADED_S = 3.0
SETTLED_S = 6.0
"""Until a process that searches has been begun, for the first of the prompts."""
NICE = "import os; os.nice(5)\n"
"""The priority of those that search."""
BUSY = NICE + "while True: sum(range(10_000))"
READING = (
    NICE
    + """
import sys
from headrace.filters.pii.models.ensemble import load
from headrace.filters.pii.models.names import model_of
model = load([model_of(sys.argv[1])])
while True:
    model.find(["Jane Doe of Springfield wrote to the committee about the invoice of last week, and asked when it meets. "] * 6)
"""
)
MESSAGE_TIMEOUT_S = 90.0
HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nhost: gateway\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"


def plan(name: str, policy: str, upstream: str, folder: Path) -> Plan:
    """The service with one worker behind Envoy."""
    (folder / "policy.yaml").write_text(policy)
    socket, admin = folder / "worker.sock", f"{LOOPBACK}:{free_port()}"
    headrace = str(Path(sys.executable).with_name("headrace"))
    options = ("--listen", f"unix:{socket}", "--workers", "1", "--admin", admin, "--log-level", "warning")
    settings = GatewaySettings(
        upstreams=tuple(Upstream(name=each, url=upstream) for each in UPSTREAMS),
        service=(Address(path=str(socket)),),
        listen=Address(host=LOOPBACK, port=0),
        message_timeout=MESSAGE_TIMEOUT_S,
    )

    async def settled() -> float:
        return 0.0

    return Plan(name, tree(bootstrap(settings)), settled, (headrace, "serve", str(folder / "policy.yaml"), *options))


def spread(seconds: Sequence[float]) -> Mapping[str, float]:
    """p50 and p99 in milliseconds."""
    ordered = sorted(seconds)
    return {"p50_ms": round(ordered[len(ordered) // 2] * 1e3, 3), "p99_ms": round(ordered[int(len(ordered) * 0.99)] * 1e3, 3)}


# --- streams ---------------------------------------------------------------------------------------------------------------------


class Model:
    """Answers whole, or event by event: one for each number in `go`, None for the end."""

    def __init__(self, server: StubUpstream) -> None:
        self.go: asyncio.Queue[int | None] = asyncio.Queue()
        self.sent = 0.0
        server.answer = self._answer

    async def _answer(self, received: Received, reply: Reply) -> None:
        asked = json.loads(received.body)
        if not asked.get("stream"):
            await reply.whole(b'{"choices": []}')
            return
        words = (PROSE.format(token=asked["messages"][0]["content"]) * (EVENTS // 30)).replace("\n", " ").split(" ")
        await reply.begin()
        while (number := await self.go.get()) is not None:
            choice = {"index": 0, "delta": {"content": words[number % len(words)] + " "}, "finish_reason": None}
            event = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": MODEL, "choices": [choice]}
            self.sent = time.perf_counter()
            await reply.send(b"data: %b\n\n: event %d.\n\n" % (json.dumps(event).encode(), number))
        await reply.send(b"data: [DONE]\n\n")
        await reply.end()


async def event_times(model: Model, gateway: Gateway) -> Sequence[float]:
    """Seconds from the model to the caller, for each event of one stream. Raises RuntimeError for an answer that is wrong."""
    body = json.dumps({"model": MODEL, "stream": True, "messages": [{"role": "user", "content": EMAIL}]}).encode()
    port = int(gateway.url.rpartition(":")[2])
    reader, writer = await asyncio.open_connection(LOOPBACK, port)
    writer.write(HEAD % len(body) + body)
    times, seen = [], b""
    for number in range(EVENTS):
        model.go.put_nowait(number)
        seen += await reader.readuntil(b": event %d." % number)
        times.append(time.perf_counter() - model.sent)
    model.go.put_nowait(None)
    seen += await reader.readuntil(b"[DONE]")
    writer.close()
    await writer.wait_closed()
    text = b"".join(re.findall(rb'"content":\s?"([^"]*)"', seen))
    if EMAIL.encode() not in text or (gateway.name == "pii" and b"joan.q" in text):
        raise RuntimeError(f"{gateway.name}: the answer is not as it should be: {text[:300]!r}")
    return times


async def streams(directory: Path) -> Mapping[str, Any]:
    async with contextlib.AsyncExitStack() as stack:
        server = await stack.enter_async_context(StubUpstream("standard"))
        model = Model(server)
        plans = [plan_bare(server.url, directory)]
        plans += [
            plan(name, text, server.url, new_folder(directory, name))
            for name, text in (("reads", STREAM_POLICY), ("pii", PATTERNS))
        ]
        gateways = [await stack.enter_async_context(run(each, new_folder(directory, f"{each.name}-envoy"))) for each in plans]
        times: dict[str, list[float]] = {each.name: [] for each in gateways}
        for _ in range(ROUNDS):
            for gateway in gateways:
                times[gateway.name] += await event_times(model, gateway)
    found = {name: spread(values) for name, values in times.items()}
    added = {key: round(found["pii"][key] - found["bare"][key], 3) for key in found["pii"]}
    return {**found, "added by pii": added}


# --- small requests beside a large one -------------------------------------------------------------------------------------------


async def _post(client: httpx.AsyncClient, text: str) -> float:
    """Seconds. Raises httpx.HTTPStatusError for a refusal."""
    began = time.perf_counter()
    answer = await client.post("/v1/chat/completions", json={"model": MODEL, "messages": [{"role": "user", "content": text}]})
    answer.raise_for_status()
    return time.perf_counter() - began


async def _small(client: httpx.AsyncClient, salt: int) -> Sequence[float]:
    times = []
    for number in range(SMALL):
        times.append(await _post(client, named(240, salt * SMALL + number)))
        await asyncio.sleep(EVERY_S)
    return times


@contextlib.asynccontextmanager
async def _busy(model: str | None) -> AsyncIterator[None]:
    """While it runs, a process computes; with a model two, as many as read long texts where nothing else is set."""
    commands = [(BUSY,)] if model is None else [(READING, model)] * 2
    processes = [await asyncio.create_subprocess_exec(*tied(sys.executable, "-c", *command)) for command in commands]
    await asyncio.sleep(1.0 if model is None else LOADED_S)
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            await process.wait()


async def beside(directory: Path, name: str, planned: Callable[[str, Path], Plan], model: str | None) -> Mapping[str, Any]:
    """planned: the gateway, from the upstream's URL and a folder. model: the one that reads there."""
    times: dict[str, list[float]] = {"alone": [], "beside_a_busy_process": [], "beside_400_kb": []}
    large: list[float] = []
    async with contextlib.AsyncExitStack() as stack:
        folder = new_folder(directory, f"small-{name}")
        _, url = await stack.enter_async_context(upstream(new_folder(folder, "upstream")))
        gateway = await stack.enter_async_context(run(planned(url, folder), new_folder(folder, "envoy")))
        client = await stack.enter_async_context(httpx.AsyncClient(base_url=gateway.url, timeout=120))
        async with large_prompts(gateway.url, MODEL):
            await asyncio.sleep(SETTLED_S)
        await _small(client, 0)
        for number in range(1, 3 * SMALL_ROUNDS, 3):
            times["alone"] += await _small(client, number)
            async with _busy(model):
                times["beside_a_busy_process"] += await _small(client, number + 1)
            async with large_prompts(gateway.url, MODEL, number) as caller:
                times["beside_400_kb"] += await _small(client, number + 2)
            large += caller.seconds
    return {**{how: spread(each) for how, each in times.items()}, "large_requests": len(large), "large_s": _few(large)}


def _few(seconds: Sequence[float]) -> Sequence[float]:
    return [round(each, 2) for each in seconds[:3]]


async def _bench() -> Mapping[str, Any]:
    with tempfile.TemporaryDirectory(prefix="hr-bench-") as name:
        directory = Path(name)
        found: dict[str, Any] = {"streams": await streams(directory)}
        for name, planned, model in _compared():
            print(json.dumps(found), file=sys.stderr, flush=True)
            found[f"small requests, {name}"] = await beside(directory, name, planned, model)
        return found


def _compared() -> Iterator[tuple[str, Callable[[str, Path], Plan], str | None]]:
    """Each with the model that reads there. Without Headrace, too: what two cores make of small requests beside large ones."""
    yield "bare", plan_bare, None
    yield "noop", partial(plan_noop, transport=Transport.H2), None
    yield "model-none", partial(_with_model, "none"), None
    for model in default_models():
        yield f"model-{model}", partial(_with_model, model), model


def _with_model(model: str, upstream: str, folder: Path) -> Plan:
    return plan(model, BESIDE % model, upstream, folder)


if __name__ == "__main__":
    print(json.dumps(asyncio.run(_bench()), indent=1))
