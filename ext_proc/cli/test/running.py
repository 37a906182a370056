"""Plays the cases of test files: each on counters of its own, at the file's time."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from time import perf_counter
from typing import Any

from headrace.ext_proc.cli.test.format import CaseFile, CasePart, read_tests
from headrace.ext_proc.cli.test.matching import differences
from headrace.ext_proc.engine.offload import ThreadOffload
from headrace.ext_proc.engine.policy.compile import Policy, compile_policy
from headrace.ext_proc.engine.policy.problems import PolicyErrors, Problem
from headrace.ext_proc.engine.registry import Ports, Registry
from headrace.ext_proc.engine.trial import Played, Trial
from headrace.ext_proc.engine.warming import warm
from headrace.ext_proc.stores.memory import MemoryStore


@dataclass(frozen=True)
class FixedClock:
    """Stands still. ms: epoch milliseconds."""

    ms: int

    def now_ms(self) -> int:
        return self.ms


@dataclass(frozen=True)
class CaseResult:
    """line: of the case. problems: empty where it passed. seconds: what it took."""

    name: str
    line: int
    problems: Sequence[Problem]
    record: Mapping[str, Any]
    seconds: float


@dataclass(frozen=True)
class FileResult:
    """policy: None where it, or the test file, has problems that keep its cases from being played."""

    path: Path
    policy: Policy | None
    cases: Sequence[CaseResult]
    problems: Sequence[Problem]

    @property
    def passed(self) -> bool:
        return not self.problems and not any(case.problems for case in self.cases)


async def run(path: Path) -> FileResult:
    """Every case of one file."""
    try:
        file = read_tests(path)
        clock = FixedClock(int(datetime.fromisoformat(file.document.at).timestamp() * 1000))
        store = MemoryStore()
        policy = compile_policy(file.policy, Registry.installed(), Ports(store, clock, ThreadOffload()))
    except PolicyErrors as errors:
        return FileResult(path, None, (), errors.problems)
    warm(policy, ThreadOffload())
    cases = []
    for index, case in enumerate(file.document.cases):
        store.clear()
        cases.append(await _case(file, index, case, Trial(policy, store, clock)))
    return FileResult(path, policy, cases, ())


async def _case(file: CaseFile, index: int, case: CasePart, trial: Trial) -> CaseResult:
    started = perf_counter()
    async with trial:
        played = await _last(trial, case)
    problems = [file.problem(index, where, message) for where, message in differences(case, played)]
    line = file.located.line_of(("cases", index))
    return CaseResult(case.name, line, problems, played.record, perf_counter() - started)


async def _last(trial: Trial, case: CasePart) -> Played:
    answered = case.answer.answered if case.answer else None
    for _ in range(case.repeat - 1):
        await trial.play(case.request.asked, answered, case.principal)
    return await trial.play(case.request.asked, answered, case.principal)
