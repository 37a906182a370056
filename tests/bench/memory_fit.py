"""Pools that run out of memory, in virtual time: `python -m tests.bench.memory_fit [requests] [seed …]` prints JSON.

A server has the KV blocks that its GPUs leave, and starts a request when the blocks of its prompt and its whole cap are free (the
scheduler GUARANTEED_NO_EVICT of TensorRT-LLM); until then it waits there. One that takes more blocks than there are can never
run: the server is out of memory and answers 500. Callers send their next request when the last is answered, and retry a 429 after a
second. The gateway's part is the product's: Weighing, Servers, and a Board that reads each server's metrics once a second.

`perfect` knows the free blocks of every server at every moment and holds back what none has room for. It does not know the future.
"""

import json
import random
import sys
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from heapq import heappop, heappush
from itertools import count, cycle
from typing import Final, NamedTuple

from headrace.ext_proc.core.verdict import Reply
from headrace.ext_proc.engine.load.board import Board, Need
from headrace.ext_proc.engine.load.metrics import Snapshot
from headrace.ext_proc.engine.policy.models import Model, PolicyDocument
from headrace.filters.routing.memory import Memory, memory_of, shape_of
from headrace.filters.routing.offers import Offer
from headrace.filters.routing.servers import Servers
from headrace.filters.routing.weighing import Asked, Weighing

REQUESTS: Final = 10_000
SEED: Final = 7
CALLERS: Final = 150
PREFILL, DECODE = 8000, 40  # tokens per second
READ_EVERY: Final = 1.0
SMALL_PROMPT: Final = 8192
"""Up to here routing by prompt size alone takes the first pool."""

LLAMA_8B: Final = {"num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8, "hidden_size": 4096}
DOCUMENT: Final = PolicyDocument.model_validate(
    {
        "version": 1,
        "upstreams": {
            "standard": {"url": "http://10.0.0.1", "metrics": "vllm", "servers": [f"10.0.0.{n}:8000" for n in range(1, 5)]},
            "high-memory": {"url": "http://10.0.1.1", "metrics": "vllm", "servers": [f"10.0.1.{n}:8000" for n in range(1, 3)]},
        },
        "models": [
            {
                "name": "llama-3.1-8b",
                "shape": "config.json",
                "pools": [
                    {"upstream": "standard", "gpus": {"memory_gib": 24, "weights_gib": 15}},
                    {"upstream": "high-memory", "gpus": {"memory_gib": 80, "weights_gib": 15}},
                ],
            }
        ],
    }
)
MODEL: Final[Model] = DOCUMENT.models[0]
MEMORY: Final = [memory_of(shape_of(LLAMA_8B), pool.gpus) for pool in MODEL.pools if pool.gpus]


class Job(NamedTuple):
    """Tokens of a request; the answer has fewer than its cap."""

    prompt: int
    cap: int
    answer: int


def traffic(requests: int, seed: int = SEED) -> list[Job]:
    """Chats, long documents with short answers, and short prompts with caps that no small server holds."""
    chance, found = random.Random(seed), []
    for _ in range(requests):
        kind = chance.random()
        if kind < 0.8:
            prompt, cap = chance.randint(100, 4000), chance.choice((256, 1024, 2048))
        elif kind < 0.95:
            prompt, cap = chance.randint(10_000, 110_000), chance.choice((512, 1024))
        else:
            prompt, cap = chance.randint(100, 4000), chance.choice((48_000, 64_000))
        found.append(Job(prompt, cap, chance.randint(32, min(cap, 2048))))
    return found


class SimulatedServer:
    """One server. Counts its KV blocks in bytes, as Memory does."""

    def __init__(self, name: str, memory: Memory) -> None:
        self.name, self.memory, self.free = name, memory, memory.room
        self.waiting: deque[tuple[Job, int]] = deque()
        self.running = 0

    def takes(self, job: Job) -> int:
        return self.memory.takes(job.prompt, job.cap, 1)

    def start(self) -> list[tuple[Job, int]]:
        """Of those that wait, in order, what begins now."""
        begun = []
        while self.waiting and self.takes(self.waiting[0][0]) <= self.free:
            job, caller = self.waiting.popleft()
            self.free -= self.takes(job)
            self.running += 1
            begun.append((job, caller))
        return begun

    def end(self, job: Job) -> None:
        self.free += self.takes(job)
        self.running -= 1

    @property
    def snapshot(self) -> Snapshot:
        return Snapshot(self.running, len(self.waiting), 1 - self.free / self.memory.room, self.memory.most)


Fleet = Sequence[Sequence[SimulatedServer]]
Route = Callable[[Job, float], SimulatedServer | float]
"""The server a job goes to at a time, or the seconds after which to ask again."""


def fleet() -> Fleet:
    """The servers of each pool."""
    return [
        [SimulatedServer(name, memory) for name in DOCUMENT.upstreams[pool.upstream].servers]
        for pool, memory in zip(MODEL.pools, MEMORY, strict=True)
    ]


def round_robin(pools: Fleet) -> Route:
    turn = cycle([server for pool in pools for server in pool])
    return lambda job, now: next(turn)


def by_prompt_size(pools: Fleet) -> Route:
    turns = [cycle(pool) for pool in pools]
    return lambda job, now: next(turns[job.prompt > SMALL_PROMPT])


def by_memory_fit(pools: Fleet) -> Route:
    """The product's decision, from metrics that are up to READ_EVERY old."""
    servers = {server.name: server for pool in pools for server in pool}
    board = Board(round(READ_EVERY * 1000))
    board.follow(servers)
    choice = Servers(DOCUMENT.upstreams, board)
    weighing = Weighing(DOCUMENT.upstreams, (), {id(pool): memory for pool, memory in zip(MODEL.pools, MEMORY, strict=True)})
    read = -READ_EVERY

    def route(job: Job, now: float) -> SimulatedServer | float:
        nonlocal read
        now_ms = round(now * 1000)
        if now - read >= READ_EVERY:
            read = now
            for server in servers.values():
                board.read(server.name, server.snapshot, now_ms)
        asked = Asked(job.prompt, job.cap, 1)
        weighed = weighing.weigh([(Offer(MODEL, MODEL.name, pool), asked) for pool in MODEL.pools])
        need = Need(job.prompt + job.cap, answer=job.cap)
        placed = choice.place([one.pool for one in weighed if one.pool and one.reason is None], need, now_ms, None)
        if isinstance(placed, Reply):
            return float(placed.retry_after or 1)
        choice.sent(placed[0], need, now_ms)
        return servers[placed[0].servers[0]]

    return route


def perfect(pools: Fleet) -> Route:
    def route(job: Job, now: float) -> SimulatedServer | float:
        for pool in pools:
            ready = [server for server in pool if not server.waiting and server.takes(job) <= server.free]
            if ready:
                return max(ready, key=lambda server: server.free)
        return 0.05

    return route


def run(jobs: Sequence[Job], router: Callable[[Fleet], Route]) -> Mapping[str, float]:
    """What became of the jobs, in virtual seconds."""
    pools, order, now = fleet(), count(), 0.0
    route, left = router(pools), iter(jobs)
    events: list[tuple[float, int, Job, int, SimulatedServer | None]] = []
    answered, out_of_memory, retries = 0, 0, 0

    def ask_next(caller: int, at: float) -> None:
        if (job := next(left, None)) is not None:
            heappush(events, (at, next(order), job, caller, None))

    for caller in range(CALLERS):
        ask_next(caller, caller / CALLERS)
    while events:
        now, _, job, caller, server = heappop(events)
        if server is not None:  # its answer is complete
            server.end(job)
            answered += 1
            ask_next(caller, now)
        elif isinstance(to := route(job, now), float):
            retries += 1
            heappush(events, (now + to, next(order), job, caller, None))
            continue
        elif to.takes(job) > to.memory.room:
            out_of_memory += 1
            ask_next(caller, now)
            continue
        else:
            server = to
            server.waiting.append((job, caller))
        for begun, whose in server.start():
            end = now + begun.prompt / PREFILL + begun.answer / DECODE
            heappush(events, (end, next(order), begun, whose, server))
    return {
        "answered": answered,
        "out_of_memory": out_of_memory,
        "retries": retries,
        "seconds": round(now, 1),
        "answers_per_second": round(answered / now, 3) if now else 0.0,
    }


ROUTERS: Final = {"round robin": round_robin, "prompt size alone": by_prompt_size, "memory fit": by_memory_fit, "perfect": perfect}


def measure(requests: int = REQUESTS, seed: int = SEED) -> Mapping[str, Mapping[str, float]]:
    """Router → what became of the same jobs, and its throughput over that of perfect knowledge."""
    jobs = traffic(requests, seed)
    found = {name: run(jobs, router) for name, router in ROUTERS.items()}
    best = found["perfect"]["answers_per_second"]
    return {name: {**each, "of_perfect": round(each["answers_per_second"] / best, 3)} for name, each in found.items()}


if __name__ == "__main__":
    asked, *seeds = [int(word) for word in sys.argv[1:]] or [REQUESTS]
    print(json.dumps({f"seed {seed}": measure(asked, seed) for seed in seeds or [SEED]}, indent=2))
