"""Traces of requests: one JSON object a line, `{"arrival": seconds, "prompt": tokens, "answer": tokens}`."""

import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Final

import msgspec

from headrace.ext_proc.core.errors import HeadraceError
from headrace.ext_proc.core.json_body import NO_JSON

MAX_REQUESTS: Final = 1_000_000
"""Of a trace; sizing a fleet takes some ten passes over it."""

Seconds = Annotated[float, msgspec.Meta(ge=0, le=1e12)]
Tokens = Annotated[int, msgspec.Meta(ge=0, le=100_000_000)]


class TraceError(HeadraceError):
    """A trace that cannot be read; the message says which line, and what would be right."""


class Arrival(msgspec.Struct, frozen=True):
    """A request. arrival: seconds since any moment. prompt, answer: tokens."""

    arrival: Seconds
    prompt: Tokens
    answer: Tokens

    @property
    def tokens(self) -> int:
        return self.prompt + self.answer


SHORT, LONG, ANSWER = 1600, 29_600, 400
"""Tokens of the prompts and of every answer of a synthetic trace."""


def synthetic(requests: int, short: float, per_second: float, seed: int) -> Iterator[Arrival]:
    """Poisson arrivals, `per_second` of them; a share of `short` has a prompt of SHORT tokens, the others one of LONG."""
    chance, now = random.Random(seed), 0.0
    for _ in range(requests):
        now += chance.expovariate(per_second)
        yield Arrival(now, SHORT if chance.random() < short else LONG, ANSWER)


_DECODER: Final = msgspec.json.Decoder(Arrival)


def read_trace(path: Path) -> Sequence[Arrival]:
    """In the order of their arrival. Raises OSError, TraceError."""
    found: list[Arrival] = []
    with path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if line.strip():
                found.append(_arrival(line, f"{path}:{number}"))
            if len(found) > MAX_REQUESTS:
                raise TraceError(f"{path}:{number}: more than {MAX_REQUESTS} requests; give a part of the trace")
    if not found:
        raise TraceError(f'{path}: no request; a line is like {{"arrival": 0.5, "prompt": 900, "answer": 120}}')
    return sorted(found, key=lambda one: one.arrival)


def _arrival(line: bytes, where: str) -> Arrival:
    try:
        return _DECODER.decode(line)
    except NO_JSON as error:
        raise TraceError(f'{where}: {error}; a line is like {{"arrival": 0.5, "prompt": 900, "answer": 120}}') from None
