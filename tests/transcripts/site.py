"""What every driver has in common: a policy compiled anew for each transcript, over a store, a clock and ids of its own."""

import asyncio
import json
from collections.abc import Callable, Sequence
from importlib.metadata import EntryPoint, entry_points
from itertools import count
from pathlib import Path
from shutil import copytree
from types import TracebackType
from typing import Self

from headrace.ext_proc.core.effects import Effect, Record, Release, Settle
from headrace.ext_proc.engine.effects import EffectRunner
from headrace.ext_proc.engine.load.board import Board
from headrace.ext_proc.engine.policy.compile import Policy, compile_policy
from headrace.ext_proc.engine.registry import GROUP, METRICS_MS, Ports, Registry
from headrace.ext_proc.stores.memory import MemoryStore
from tests.filters.compiled import Inline, ManualClock
from tests.transcripts.model import POLICIES, Transcript

WAIT = 20.0
TEST_FILTERS = [EntryPoint(name, f"tests.transcripts.filters:{name.capitalize()}", GROUP) for name in ("shout", "stop", "broken")]


class Site:
    """`submit` takes what exchanges cause; leases are settled in the store, and everything is kept to be looked at."""

    def __init__(self, transcript: Transcript, folder: Path) -> None:
        store, clock = MemoryStore(), ManualClock()
        self.policy = _compiled(transcript, folder, Ports(store, clock, Inline(), _board(transcript, clock.now_ms())))
        self.effects: list[Effect] = []
        self._runner = EffectRunner(store, clock)
        self._ids = (f"e{number}" for number in count(1))
        self._changed = asyncio.Condition()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self._runner.drain(WAIT)

    def new_id(self) -> str:
        return next(self._ids)

    def submit(self, effects: Sequence[Effect]) -> None:
        self.effects.extend(effects)
        self._runner.submit(effects)

    @property
    def settled(self) -> Sequence[Settle | Release]:
        return [effect for effect in self.effects if not isinstance(effect, Record)]

    @property
    def decisions(self) -> Sequence[Record]:
        return [effect for effect in self.effects if isinstance(effect, Record) and effect.kind == "decision"]

    async def idle(self) -> None:
        """Every lease settled so far is settled in the store."""
        await until(lambda: self._runner.depth == 0, "settlements to be carried out")

    def forget(self) -> None:
        """What earlier exchanges caused is no longer looked at."""
        self.effects.clear()


async def until(holds: Callable[[], bool], what: str) -> None:
    """Lets the loop run until something holds. Raises AssertionError when it has not within 20 s."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + WAIT
    while not holds():
        assert loop.time() < deadline, f"waited in vain for {what}"
        await asyncio.sleep(0.001)


def _board(transcript: Transcript, now_ms: int) -> Board:
    board = Board(METRICS_MS)
    board.follow(transcript.load)
    for server, said in transcript.load.items():
        board.read(server, said, now_ms)
    return board


def _compiled(transcript: Transcript, folder: Path, ports: Ports) -> Policy:
    """The policy's files (keys, pepper) are beside it."""
    copytree(POLICIES, folder, dirs_exist_ok=True)
    path = folder / "policy.json.yaml"
    path.write_text(json.dumps(transcript.policy))  # JSON is YAML
    return compile_policy(path, Registry([*entry_points(group=GROUP), *TEST_FILTERS]), ports)
