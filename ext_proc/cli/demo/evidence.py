"""What is known of an exchange, each part from where it is true: the client, the decision log, the pool that received it."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from headrace.ext_proc.cli.simulate import Entry, SimulatedPool
from headrace.ext_proc.telemetry import phrases

from .client import MARK, Seen
from .scenes import Scene

RECORD_S = 10.0
"""Seconds for a record to appear: Envoy tells of a finished request within one."""
LOOK_S = 0.02

Record = Mapping[str, Any]


class NoRecordError(Exception):
    """The decision log does not tell of an exchange; the message says which, and what was looked for."""


class DecisionLog:
    """The service's decision log, read from its file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def decision(self, exchange: str) -> Record:
        """The decision on an exchange. Raises NoRecordError."""
        return await self._find(exchange, "decision")

    async def settlement(self, exchange: str) -> Record:
        """What became of the lease of an exchange. Raises NoRecordError."""
        return await self._find(exchange, "settlement")

    async def _find(self, exchange: str, kind: str) -> Record:
        def wanted(record: Record) -> bool:
            return bool(record.get("exchange") == exchange and record["kind"] == kind)

        try:
            async with asyncio.timeout(RECORD_S):
                while True:
                    if found := next(filter(wanted, self.records()), None):
                        return found
                    await asyncio.sleep(LOOK_S)
        except TimeoutError:
            raise NoRecordError(f"{self._path} has no {kind} of the exchange {exchange!r}") from None

    def records(self) -> Sequence[Record]:
        """Every whole line so far."""
        lines = self._path.read_bytes().splitlines(keepends=True) if self._path.exists() else []
        return [msgspec.json.decode(line) for line in lines if line.endswith(b"\n")]


@dataclass(frozen=True, slots=True)
class Received:
    """What an upstream received."""

    pool: str
    entry: Entry

    @property
    def text(self) -> str:
        """The last message's content."""
        return last_message(self.entry.body)


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request, from all sides. Refused ones have no settlement, and no upstream received them."""

    scene: Scene
    seen: Seen
    decision: Record
    settlement: Record | None
    received: Received | None

    @property
    def as_expected(self) -> bool:
        """The client got the status the scene is about, and the upstream saw the request exactly if it was admitted."""
        return self.seen.status == self.scene.expected and (self.received is not None) == (self.seen.status == 200)


def last_message(body: bytes) -> str:
    """The content of a chat request's last message."""
    return str(msgspec.json.decode(body)["messages"][-1]["content"])


def changed_members(one: bytes, other: bytes) -> Sequence[str]:
    """The top-level members in which two JSON objects differ."""
    first, second = msgspec.json.decode(one, type=dict), msgspec.json.decode(other, type=dict)
    return sorted(name for name in first.keys() | second.keys() if first.get(name) != second.get(name))


def received(pools: Sequence[SimulatedPool], number: int) -> Received | None:
    """The pools' entry of the application's request `number`."""
    entries = ((pool, entry) for pool in pools for entry in pool.books.entries)
    return next((Received(pool.name, entry) for pool, entry in entries if entry.header(MARK) == str(number)), None)


async def gather(scene: Scene, seen: Seen, log: DecisionLog, pools: Sequence[SimulatedPool]) -> Exchange:
    """Everything about one request, once it is settled. Raises NoRecordError."""
    decision = await log.decision(seen.exchange)
    settlement = await log.settlement(seen.exchange) if phrases.reserved(decision) else None
    return Exchange(scene, seen, decision, settlement, received(pools, seen.number))
