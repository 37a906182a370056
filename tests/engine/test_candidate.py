"""A candidate is tried on what the policy in force has decided, and touches nothing of it."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from headrace.ext_proc.core.effects import Cause, Effect, Record, Settle
from headrace.ext_proc.core.events import RequestBody, RequestHeaders
from headrace.ext_proc.core.exchange import Exchange, State
from headrace.ext_proc.core.headers import Headers
from headrace.ext_proc.core.ledger import Charge, Fixed
from headrace.ext_proc.core.needs import Capability
from headrace.ext_proc.core.usage import Usage
from headrace.ext_proc.core.windows import window_at
from headrace.ext_proc.engine import candidate as module
from headrace.ext_proc.engine.candidate import CandidateRunner, Recording
from headrace.ext_proc.engine.clock import SystemClock
from headrace.ext_proc.engine.guard import shield
from headrace.ext_proc.engine.load.board import Board, Need
from headrace.ext_proc.engine.load.watching import Watching
from headrace.ext_proc.engine.policy.compile import Policy, compile_policy
from headrace.ext_proc.engine.policy.problems import PolicyErrors
from headrace.ext_proc.engine.registry import Ports, Registry
from headrace.ext_proc.engine.step import step
from headrace.ext_proc.stores.memory import MemoryStore
from headrace.ext_proc.stores.shadow import PREFIX
from tests.filters.compiled import NOON_MS, Inline, ManualClock
from tests.service.waiting import until

POLICY = """
version: 1
models: [{name: m, max_output: 10, price: {input: 1, output: 1}}]
identity: [{headers: {team: x-team}}]
budgets: [{name: day, per: [team], limit: {requests: LIMIT}, window: day}]
filters:
  - identity: {}
  - pii: {entities: [EMAIL_ADDRESS], model: none, request: ACTION}
  - budget: {}
"""


def written(folder: Path, limit: int = 5, action: str = "replace", *, beside: str = "", name: str = "policy.yaml") -> Path:
    path = folder / name
    path.write_text(POLICY.replace("LIMIT", str(limit)).replace("ACTION", action) + beside)
    return path


@dataclass
class Bench:
    """A policy with a candidate, and what became of what was tried."""

    policy: Policy
    store: MemoryStore
    clock: ManualClock
    records: list[Record] = field(default_factory=list)
    draw: Callable[[], float] = lambda: 0.0
    count: int = 0

    def __post_init__(self) -> None:
        self.runner = CandidateRunner(lambda: self.policy, self.store, self.clock, self.records.append, lambda: self.draw())

    async def asked(self, text: str = "hi", team: str = "blue") -> list[Effect]:
        """One exchange under the policy in force, recorded as the adapter does it; its effects."""
        self.count += 1
        recording = self.runner.record(Capability.ACCESS_LOG)
        exchange = Exchange(f"e{self.count}", self.policy, shield, capabilities=Capability.ACCESS_LOG)
        body = json.dumps({"model": "m", "messages": [{"role": "user", "content": text}]}).encode()
        fields = [(":method", "POST"), (":path", "/v1/chat/completions"), ("x-team", team)]
        for event in (RequestHeaders(Headers(fields)), RequestBody(body)):
            if exchange.state in (State.START, State.AWAIT_BODY):
                if recording is not None:
                    recording.events.append(event)
                await step(exchange, event, deadline=asyncio.get_running_loop().time() + 5)
        effects = list(exchange.close(Cause.HANDED_OFF))
        if recording is not None:
            self.runner.offer(recording, effects)
        return effects

    async def tried(self, count: int = 1) -> list[dict[str, Any]]:
        await until(lambda: len(self.records) >= count, f"{count} exchanges were tried")
        return [dict(record.members) for record in self.records]

    async def held(self, organisation: str = "default") -> int:
        """What the counter of the team blue holds."""
        from datetime import UTC

        window = window_at(NOON_MS, "day", UTC)
        assert isinstance(window, Fixed)
        (used,) = await self.store.read(organisation, [Charge("day:blue", "requests", 9, 0, window)], now_ms=NOON_MS)
        return used


def bench(folder: Path, **candidate: Any) -> Bench:
    written(folder, name="next.yaml", **candidate)
    path = written(folder, beside="candidate: {file: next.yaml, share: 0.5}\n")
    store, clock = MemoryStore(), ManualClock()
    return Bench(compile_policy(path, Registry.installed(), Ports(store, clock, Inline())), store, clock)


async def test_the_same_policy_decides_the_same(tmp_path: Path) -> None:
    here = bench(tmp_path)
    await here.asked("to a@example.com")
    (record,) = await here.tried()
    assert (record["outcome"], record["changes"]) == ("same", [])
    assert (record["exchange"], record["principal"]["team"]) == ("e1", "blue")
    assert record["candidate"] != record["revision"]


async def test_what_it_would_refuse_is_told_and_sent_all_the_same(tmp_path: Path) -> None:
    here = bench(tmp_path, action="block")
    (decision,) = [effect for effect in await here.asked("to a@example.com") if isinstance(effect, Record)]
    (record,) = await here.tried()
    assert decision.members["outcome"] == "handed_off"
    assert record["changes"] == ["sent → refused pii.blocked"]
    assert record["reason"] == "pii.blocked"
    assert "a@example.com" not in json.dumps(record)


async def test_it_counts_on_budgets_of_its_own(tmp_path: Path) -> None:
    here = bench(tmp_path, limit=2)
    for _ in range(4):
        await here.asked()
    found = await here.tried(4)
    assert [record["changes"] for record in found] == [[], [], *[["sent → refused budget.exhausted"]] * 2]
    assert (await here.held(), await here.held(f"{PREFIX}default")) == (4, 2)


async def test_the_candidates_lease_ends_as_the_real_one(tmp_path: Path) -> None:
    here = bench(tmp_path)
    await here.asked()
    await here.tried()
    here.runner.settled([Settle("default", "e1", Usage(3, 4))])
    await here.runner.drain(5)
    (entry,) = await here.store.entries(f"{PREFIX}default")
    assert (entry.members["outcome"], entry.members["input_tokens"]) == ("settled", "3")
    assert await here.store.entries("default") == []


async def test_a_settlement_that_is_quicker_than_the_candidate_is_kept_for_it(tmp_path: Path) -> None:
    here = bench(tmp_path)
    await here.asked()
    here.runner.settled([Settle("default", "e1", Usage(3, 4))])
    await here.tried()
    await here.runner.drain(5)
    assert [entry.members["outcome"] for entry in await here.store.entries(f"{PREFIX}default")] == ["settled"]


async def test_what_only_the_candidate_admits_is_released(tmp_path: Path) -> None:
    here = bench(tmp_path, limit=9)
    for _ in range(7):
        await here.asked()
    found = await here.tried(7)
    assert found[-1]["changes"] == ["refused budget.exhausted → sent"]
    await here.runner.drain(5)
    assert (await here.held(), await here.held(f"{PREFIX}default")) == (5, 5)


async def test_it_is_tried_on_the_share_that_is_asked_for(tmp_path: Path) -> None:
    here = bench(tmp_path)
    draws = iter([0.49, 0.5, 0.99, 0.0])
    here.draw = lambda: next(draws)
    for _ in range(4):
        await here.asked()
    assert [record["exchange"] for record in await here.tried(2)] == ["e1", "e4"]


async def test_what_waits_is_bounded_and_what_is_passed_over_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_WAITING", 1)
    here = bench(tmp_path)
    recordings = [Recording(here.policy.candidate or here.policy, Capability.NOTHING) for _ in range(3)]
    for number, recording in enumerate(recordings):
        recording.events.append(RequestHeaders(Headers([(":path", "/x")])))
        here.runner.offer(recording, [Record("decision", {"exchange": f"e{number}", "outcome": "handed_off"})])
    found = await here.tried(3)
    assert sorted(record["outcome"] for record in found) == ["passed_over", "passed_over", "same"]


async def test_an_exchange_that_cannot_be_tried_stops_nobody(tmp_path: Path) -> None:
    here = bench(tmp_path)
    recording = here.runner.record(Capability.ACCESS_LOG)
    assert recording is not None
    recording.events.append(RequestBody(b"{}"))  # a body before its headers is against the protocol
    here.runner.offer(recording, [Record("decision", {"exchange": "e0", "outcome": "handed_off"})])
    await here.asked()
    assert [record["outcome"] for record in await here.tried(2)] == ["failed", "same"]


def test_problems_of_the_candidate_are_problems_of_the_policy(tmp_path: Path) -> None:
    (tmp_path / "next.yaml").write_text("version: 1\nfilters: [nothing: {}]\n")
    path = written(tmp_path, beside="candidate: {file: next.yaml}\n")
    with pytest.raises(PolicyErrors) as raised:
        compile_policy(path, Registry.installed(), Ports(MemoryStore(), SystemClock(), Inline()))
    assert [Path(problem.file).name for problem in raised.value.problems] == ["next.yaml"]


def test_a_candidate_has_no_candidate(tmp_path: Path) -> None:
    written(tmp_path, name="last.yaml")
    written(tmp_path, name="next.yaml", beside="candidate: {file: last.yaml}\n")
    path = written(tmp_path, beside="candidate: {file: next.yaml}\n")
    with pytest.raises(PolicyErrors, match="has a candidate itself"):
        compile_policy(path, Registry.installed(), Ports(MemoryStore(), SystemClock(), Inline()))


def test_its_choice_of_servers_leaves_no_trace() -> None:
    board = Board(250)
    board.follow(["10.0.0.1:1"])
    watching = Watching(board)
    watching.place("10.0.0.1:1", Need(5, "talk"), NOON_MS)
    watching.answered("10.0.0.1:1", "talk", NOON_MS)
    watching.follow([])
    assert board.warm("talk", NOON_MS) is None
    assert (watching.knows("10.0.0.1:1"), watching.servers) == (True, ("10.0.0.1:1",))
