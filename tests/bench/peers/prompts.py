"""Prompts of 400 KB, one after another."""

import random
import time
from statistics import median

import httpx
import msgspec

from tests.bench.rounds import Gateway

from .paced import letters
from .streams import chat, headers

SIZE = 400_000  # bytes
WORDS = (
    *(
        "water",
        "wheel",
        "mill",
        "race",
        "gate",
        "stone",
        "grain",
        "flour",
        "river",
        "pond",
        "weir",
        "sluice",
        "axle",
        "gear",
        "cog",
    ),
    *(
        "belt",
        "sack",
        "miller",
        "morning",
        "evening",
        "winter",
        "summer",
        "turns",
        "grinds",
        "carries",
        "opens",
        "closes",
        "slowly",
    ),
)
BOUND = 10.0  # seconds for all prompts of a round: a gateway that takes seconds for one is asked fewer


class Prompts(msgspec.Struct, frozen=True):
    """asked: how many were sent."""

    asked: int
    p50_ms: float
    problems: list[str]


def prompt(chance: random.Random) -> str:
    """A prompt like no other, in which a patterns filter finds nothing but has to look: there are numbers in it."""
    words = [f"Request {letters(chance.getrandbits(48) + 1)} of invoice 20241: 17 sacks of 30.5 kg"]
    words += chance.choices(WORDS, k=SIZE // min(map(len, WORDS)))
    return " ".join(words)[:SIZE]


async def ask(gateway: Gateway, count: int) -> Prompts:
    """The median of up to `count` prompts; one before them does not count."""
    chance, took, problems = random.Random(), list[float](), list[str]()
    async with httpx.AsyncClient(base_url=gateway.url, headers=headers(gateway), timeout=60) as client:
        while len(took) < count + 1 and sum(took) < BOUND:
            body = msgspec.json.encode(chat(prompt(chance), max_tokens=64))
            started = time.perf_counter()
            answer = await client.post("/v1/chat/completions", content=body, headers={"content-type": "application/json"})
            took.append(time.perf_counter() - started)
            if answer.status_code != 200:
                problems.append(f"a prompt of 400 KB got status {answer.status_code}")
    counted = took[1:] or took
    return Prompts(len(counted), round(median(counted) * 1000, 2), problems)
