"""Engines whose caches fill while answers are written, in virtual time: `python -m tests.bench.cache_growth [answers] [seed …]`.

A server takes in a request as soon as its prompt fits, and gives an answer its tokens as they are written, as vLLM does. Where
none are free, the youngest of those that run is thrown out, with all that was computed for it, and begins again from the queue.
The gateway's part is the product's: Servers, and a Board that reads each server's metrics once a second and is told how long
answers were.

`blind` is the same without the growth of what runs; `reserving` knows the length that each answer will have, and sends a server
no more than holds all of them at once.
"""

import json
import random
import sys
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from headrace.ext_proc.core.endpoint import Endpoint
from headrace.ext_proc.core.request import Request
from headrace.ext_proc.core.verdict import Reply
from headrace.ext_proc.engine.load.board import Board, Need
from headrace.ext_proc.engine.load.metrics import Snapshot
from headrace.ext_proc.engine.policy.models import PolicyDocument
from headrace.ext_proc.engine.policy.pools import Pool
from headrace.filters.routing.servers import Servers, need_of
from headrace.filters.routing.weighing import Asked
from tests.kit import CHAT, post

ANSWERS: Final = 10_000
CALLERS: Final = 240
CAPACITY: Final = 40_000
"""Tokens of a server's cache."""
PREFILL, DECODE = 8000, 40  # tokens per second
STEP: Final = 0.25
READ_EVERY: Final = 4
"""Steps."""
NAMES: Final = tuple(f"10.0.0.{n}:8000" for n in range(1, 5))
POOL: Final = Pool.model_validate({"upstream": "standard"})
DOCUMENT: Final = PolicyDocument.model_validate(
    {"version": 1, "upstreams": {"standard": {"url": "http://10.0.0.1", "metrics": "vllm", "servers": NAMES}}}
)
REQUEST: Final = Request("e1", post().headers, Endpoint.CHAT)
REQUEST.load(b"", dict(CHAT))


@dataclass(eq=False)
class Job:
    """cap: tokens that the answer may have; written: those it has the answer so far; idle: seconds until its prompt is read."""

    prompt: int
    cap: int
    answer: int
    written: float = 0.0
    idle: float = 0.0

    @property
    def holds(self) -> float:
        return self.prompt + self.written


def chats(chance: random.Random) -> Job:
    """Without a cap of their own; an answer is as likely to end now as a moment before, after 500 tokens on average."""
    cap = 4096
    return Job(chance.randint(50, 3000), cap, min(cap, 1 + int(chance.expovariate(1 / 500))))


def extractions(chance: random.Random) -> Job:
    """Short prompts, and answers that go on to their caps."""
    cap = chance.choice((600, 800, 1000))
    return Job(chance.randint(50, 300), cap, cap)


TRAFFIC: Final[Mapping[str, Callable[[random.Random], Job]]] = {"chats": chats, "extractions": extractions}


@dataclass(eq=False)
class Engine:
    name: str
    running: list[Job] = field(default_factory=list)
    waiting: deque[Job] = field(default_factory=deque)
    thrown_out: int = 0
    lost: float = 0.0
    """Tokens computed in vain."""

    @property
    def used(self) -> float:
        return sum(job.holds for job in self.running)

    def step(self) -> list[Job]:
        """A moment later; what has been answered."""
        while self.waiting and self.used + self.waiting[0].prompt <= CAPACITY:
            job = self.waiting.popleft()
            job.idle = job.prompt / PREFILL
            self.running.append(job)
        for job in self.running:
            job.written = min(job.answer, job.written + max(0.0, STEP - job.idle) * DECODE)
            job.idle = max(0.0, job.idle - STEP)
        done = [job for job in self.running if job.written >= job.answer]
        self.running = [job for job in self.running if job.written < job.answer]
        while self.used > CAPACITY:
            self._throw_out(self.running.pop())
        return done

    def _throw_out(self, job: Job) -> None:
        self.thrown_out += 1
        self.lost += job.holds
        job.written = 0.0
        self.waiting.appendleft(job)

    @property
    def snapshot(self) -> Snapshot:
        return Snapshot(len(self.running), len(self.waiting), min(1.0, self.used / CAPACITY), CAPACITY)


class Product:
    """The product's decision. growth: whether what runs is expected to grow."""

    def __init__(self, engines: Mapping[str, Engine], growth: bool) -> None:
        self._engines, self._growth = engines, growth
        self._board = Board(round(STEP * READ_EVERY * 1000))
        self._board.follow(engines)
        self._servers = Servers(DOCUMENT.upstreams, self._board)

    def read(self, now_ms: int) -> None:
        for engine in self._engines.values():
            self._board.read(engine.name, engine.snapshot, now_ms)

    def answered(self, job: Job) -> None:
        self._board.lengths.learn("m", job.answer)

    def place(self, job: Job, now_ms: int) -> Engine | None:
        asked = Asked(job.prompt, job.cap, 1)
        need = need_of(REQUEST, asked, self._board.lengths.of("m"))
        placed = self._servers.place([POOL], need, now_ms, None)
        if isinstance(placed, Reply):
            return None
        self._servers.sent(placed[0], need if self._growth else Need(need.tokens), now_ms)
        return self._engines[placed[0].servers[0]]


class Reserving(Product):
    def place(self, job: Job, now_ms: int) -> Engine | None:
        def promised(engine: Engine) -> int:
            return sum(one.prompt + one.answer for one in (*engine.running, *engine.waiting))

        emptiest = min(self._engines.values(), key=promised)
        return emptiest if promised(emptiest) + job.prompt + job.answer <= CAPACITY else None


Router = Callable[[Mapping[str, Engine]], Product]
ROUTERS: Final[Mapping[str, Router]] = {
    "blind": lambda engines: Product(engines, growth=False),
    "product": lambda engines: Product(engines, growth=True),
    "reserving": lambda engines: Reserving(engines, growth=True),
}


def run(jobs: Sequence[Job], router: Router) -> Mapping[str, float]:
    """Until all are answered; callers ask again when they have an answer, and a refused one at the next step."""
    engines = {name: Engine(name) for name in NAMES}
    product, left = router(engines), deque(jobs)
    asking = deque(left.popleft() for _ in range(min(CALLERS, len(left))))
    answered = steps = 0
    while answered < len(jobs):
        now_ms = round(steps * STEP * 1000)
        if steps % READ_EVERY == 0:
            product.read(now_ms)
        for _ in range(len(asking)):
            job = asking.popleft()
            engine = product.place(job, now_ms)
            (asking if engine is None else engine.waiting).append(job)
        for engine in engines.values():
            for job in engine.step():
                product.answered(job)
                answered += 1
                if left:
                    asking.append(left.popleft())
        steps += 1
    return {
        "thrown_out": sum(engine.thrown_out for engine in engines.values()),
        "tokens_lost": round(sum(engine.lost for engine in engines.values())),
        "answers_per_second": round(answered / (steps * STEP), 3),
    }


def measure(answers: int, seed: int, kind: str) -> Mapping[str, Mapping[str, float]]:
    """Router → what became of the same jobs, and its throughput over that of `reserving`."""
    found = {}
    for name, router in ROUTERS.items():
        chance = random.Random(seed)
        found[name] = run([TRAFFIC[kind](chance) for _ in range(answers)], router)
    best = found["reserving"]["answers_per_second"]
    return {name: {**each, "of_reserving": round(each["answers_per_second"] / best, 3)} for name, each in found.items()}


if __name__ == "__main__":
    asked, *seeds = [int(word) for word in sys.argv[1:]] or [ANSWERS]
    print(json.dumps({f"{kind}, seed {seed}": measure(asked, seed, kind) for kind in TRAFFIC for seed in seeds or [7]}, indent=2))
