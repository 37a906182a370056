"""What a request costs the service's own Python, one property of it, of its policy or of its callers after another.

In one process over an embedded Valkey: Envoy's two messages and the access-log entry, settled. CPU time per request, the least of
the rounds: what else the machine does can only add to it.
"""

import gc
import json
import random
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import uvloop

from headrace.ext_proc.envoy.pb import headrace_ext_proc_pb2 as pb
from headrace.ext_proc.stores.embedded import EmbeddedStore
from tests.bench.inprocess import Service, serve_all
from tests.bench.peers.prompts import WORDS

MODEL = "llama-3.3-70b"
WINDOWS = ("minute", "hour", "day", "week", "month", {"sliding": 3600})
LEVELS = (["organisation"], ["team"], ["team", "app"], ["team", "user"])
FILTERS: Sequence[Mapping[str, Any]] = (
    {"identity": {}},
    {"usage": {}},
    {"routing": {}},
    {"budget": {}},
    {"pii": {"request": "replace", "model": "none"}},
)
ROUTED = 3
"""The fewest that need a prompt."""
SMALL = 240
WARM = 32
USERS = 10_000

Message = tuple[bytes, bytes]


@dataclass(frozen=True)
class Case:
    """One point of an axis. requests: of a round. chats: what is sent, one after another, without end."""

    axis: str
    at: str
    policy: Mapping[str, Any]
    chats: Callable[[], Iterator[Mapping[str, Any]]]
    requests: int
    users: int = 1


def policy(*, budgets: int = 6, filters: int = len(FILTERS), overrides: int = 0) -> Mapping[str, Any]:
    """The bench's policy with so many budgets, of its filters the first, and so many overrides, each of another team."""
    limits = {"limit": {"tokens": 10**12}}
    levels = [(level, window) for window in WINDOWS for level in LEVELS]
    return {
        "version": 1,
        "models": [{"name": MODEL, "tokenizer": "o200k_base", "context": 1_000_000, "pools": [{"upstream": "standard"}]}],
        "upstreams": {"standard": {"url": "http://127.0.0.1:1"}},
        "identity": [{"headers": {"team": "x-team", "app": "x-app", "user": "x-user"}}],
        "budgets": [{"name": f"b{n}", "per": per, "window": window, **limits} for n, (per, window) in enumerate(levels[:budgets])],
        "filters": [each for each in FILTERS[:filters] if budgets or "budget" not in each],
        "overrides": [{"when": {"team": f"t{n}"}, "set": {"pii": {"mode": "shadow"}}} for n in range(overrides)],
    }


def cases() -> Iterator[Case]:
    """Every axis, its points in order."""
    full = policy()
    for size in (SMALL, 2_000, 20_000, 100_000, 400_000):
        yield Case("prompt, bytes", f"{size}", full, partial(chats, size), max(8, min(512, 2_000_000 // size)))
    for turns in (1, 10, 50, 200):
        yield Case("messages, all new", f"{turns}", full, partial(chats, 200, turns), 512 // turns + 16)
        yield Case("messages, all but two seen before", f"{turns}", full, partial(conversation, 200, turns), 512 // turns + 16)
    for count in range(ROUTED, len(FILTERS) + 1):
        name = f"{count}: {', '.join(next(iter(each)) for each in FILTERS[:count])}"
        yield Case("filters", name, policy(filters=count, budgets=6 if count > ROUTED else 0), partial(chats, SMALL), 512)
    for count in (0, 1, 6, 12, 24):
        yield Case("budgets", f"{count}", policy(budgets=count), partial(chats, SMALL), 512)
    for count in (0, 10, 100, 1_000):
        yield Case("overrides", f"{count}", policy(overrides=count), partial(chats, SMALL), 512, users=USERS)


def words(chance: random.Random, size: int) -> str:
    """A text of `size` bytes like no other, in which no pattern finds anything."""
    return " ".join(chance.choices(WORDS, k=size // 4))[:size]


def chats(size: int, turns: int = 1) -> Iterator[Mapping[str, Any]]:
    chance = random.Random(time.time_ns())
    while True:
        yield _chat([words(chance, size) for _ in range(turns)])


def conversation(size: int, turns: int) -> Iterator[Mapping[str, Any]]:
    """Two turns are new, all before them were there the last time."""
    chance = random.Random(time.time_ns())
    said = [words(chance, size) for _ in range(turns)]
    while True:
        said = [*said[2:], words(chance, size), words(chance, size)]
        yield _chat(said)


def _chat(said: Sequence[str]) -> Mapping[str, Any]:
    roles = ("user", "assistant")
    turns = [{"role": roles[(len(said) - 1 - at) % 2], "content": text} for at, text in enumerate(said)]
    return {"model": MODEL, "messages": turns, "max_tokens": 64}


def messages(case: Case) -> Iterator[Message]:
    """Envoy's two messages of each request; callers take turns."""
    for number, chat in enumerate(case.chats()):
        user = number % case.users
        body = pb.ProcessingRequest(request_body=pb.HttpBody(body=msgspec.json.encode(chat), end_of_stream=True))
        yield _headers(user), body.SerializeToString()


def _headers(user: int) -> bytes:
    first = pb.ProcessingRequest(protocol_config=pb.ProtocolConfiguration(request_body_mode=pb.BUFFERED))
    path = {":method": "POST", ":path": "/v1/chat/completions", ":authority": "gateway", "content-type": "application/json"}
    caller = {"x-team": f"t{user % 1_000}", "x-app": "bench", "x-user": f"u{user}"}
    for name, value in {**path, **caller}.items():
        first.request_headers.headers.headers.add(key=name, raw_value=value.encode())
    return first.SerializeToString()


def measure(case: Case, rounds: int) -> float:
    """CPU µs per request."""
    with tempfile.TemporaryDirectory() as name, EmbeddedStore() as url:
        path = Path(name, "policy.yaml")
        path.write_text(json.dumps(case.policy))
        return round(uvloop.run(_measure(case, path, url, rounds)), 1)


async def _measure(case: Case, path: Path, store: str, rounds: int) -> float:
    service = Service(path, store)
    source = messages(case)
    await serve_all(service, [next(source) for _ in range(WARM)])
    found = [await _round(service, [next(source) for _ in range(case.requests)]) for _ in range(rounds)]
    await service.store.close()
    return min(found)


async def _round(service: Service, work: list[Message]) -> float:
    gc.collect()
    started = time.process_time()
    await serve_all(service, work)
    return (time.process_time() - started) / len(work) * 1e6
