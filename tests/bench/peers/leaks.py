"""Addresses in streamed answers, cut between events: what of them a caller could read.

A case is an answer with the address once, in the text or in a tool's arguments. The address comes in one event, in two with the
cut at every place inside it, and with each character in an event of its own. Each case is asked for by a prompt without
personal data and by one with it, for a filter may look at an answer only where it found something in the prompt.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec

from tests.bench.rounds import Gateway

from .streams import Stream, read

ADDRESS = "jane.doe@example.com"
SIGN = "jane.doe@"
"""What counts as leaked: enough of it to know whose address it is. Its end alone is not."""

OTHER = ", for john.roe@example.org"
"""What the prompts with personal data end in: an address that is not the answer's."""

PATIENCE = 20.0  # seconds for one answer
_AT_ONCE = 4
_MOST_EVENTS = 100

Place = Literal["content", "arguments"]
PLACES: Sequence[Place] = ("content", "arguments")
_AROUND: Mapping[Place, tuple[str, str]] = {
    "content": ("Please write to ", " before noon, and the miller will open the gate."),
    "arguments": ('{"to": "', '", "subject": "The gate", "text": "Please open it before noon."}'),
}


class Case(msgspec.Struct, frozen=True):
    """Pieces of an answer, one event each."""

    place: Place
    pieces: tuple[str, ...]


class Leaks(msgspec.Struct, frozen=True):
    """Of one place: answers with the address, those in which the caller could read it, and others that did not end well."""

    answers: int
    leaked: int
    broken: int


def cases() -> Sequence[Case]:
    """All of them; a case's index is its name."""
    return [Case(place, pieces) for place in PLACES for pieces in _pieces(*_AROUND[place])]


def _pieces(before: str, after: str) -> Sequence[tuple[str, ...]]:
    cut = [(before, ADDRESS[:at], ADDRESS[at:], after) for at in range(1, len(ADDRESS))]
    return [(before, ADDRESS, after), *cut, tuple(before + ADDRESS + after)]


def delta(place: Place, piece: str) -> Mapping[str, Any]:
    """The `delta` that carries a piece."""
    if place == "content":
        return {"content": piece}
    return {"tool_calls": [{"index": 0, "function": {"arguments": piece}}]}


def count(seen: Sequence[tuple[str, bool]]) -> Leaks:
    """`seen`: for each case of a place, what the caller read there and whether the answer ended well."""
    leaked = [SIGN in text for text, _ in seen]
    broken = [not well for (_, well), out in zip(seen, leaked, strict=True) if not out]
    return Leaks(answers=len(seen), leaked=sum(leaked), broken=sum(broken))


async def ask(gateway: Gateway) -> Mapping[Place, Leaks]:
    """Every case through a gateway, a few at a time."""
    turn = asyncio.Semaphore(_AT_ONCE)

    async def one(index: int, more: str) -> Stream:
        async with turn:
            return await read(gateway, f"Case {index} of the mill{more}", _MOST_EVENTS, PATIENCE)

    asked = [(index, case, more) for index, case in enumerate(cases()) for more in ("", OTHER)]
    streams = await asyncio.gather(*(one(index, more) for index, _, more in asked))
    seen = [(case.place, _read(case.place, stream)) for (_, case, _), stream in zip(asked, streams, strict=True)]
    return {place: count([each for at, each in seen if at == place]) for place in PLACES}


def _read(place: Place, stream: Stream) -> tuple[str, bool]:
    return "".join(stream.content if place == "content" else stream.arguments), not stream.problem
