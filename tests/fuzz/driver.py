"""A run: cases through real Envoy to upstreams that keep every byte, and the judge over all of it."""

import asyncio
import contextlib
import json
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx

from tests.e2e.site import Caller, Site, chain, patient, running_site, until
from tests.fuzz.cases import Case, Cases
from tests.fuzz.client import Heard, said
from tests.fuzz.judge import Evidence, Finding, judge, outcomes
from tests.fuzz.upstream import RawUpstream, Received

CALLERS = 20
AT_ONCE = 64
BATCH = 500
"""Cases judged together: the books are read after each."""


@dataclass
class Report:
    """outcomes: of requests. changes: what was done to them. left: leases that stand as reserved, because the client hung up."""

    requests: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    changes: Counter[str] = field(default_factory=Counter)
    findings: list[Finding] = field(default_factory=list)
    calls: int = 0
    settled: int = 0
    left: int = 0


@dataclass
class Stage:
    """Everything a run needs. answered: the exchanges that a client was answered. charged: usage by exchange, None: as reserved."""

    site: Site
    upstreams: Sequence[RawUpstream]
    callers: Sequence[Caller]
    seed: str
    decisions: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    settlements: Counter[str] = field(default_factory=Counter)
    charged: dict[str, Mapping[str, int] | None] = field(default_factory=dict)
    answered: set[str] = field(default_factory=set)
    _read: int = 0

    @property
    def cases(self) -> Cases:
        return Cases(self.seed, [caller.secret for caller in self.callers])

    @property
    def port(self) -> int:
        return httpx.URL(self.site.stack.url).port or 0

    async def say(self, numbers: Sequence[int]) -> list[tuple[Case, Heard]]:
        """The cases, AT_ONCE of them at any time."""
        gate = asyncio.Semaphore(AT_ONCE)

        async def one(number: int) -> tuple[Case, Heard]:
            case = self.cases.case(number)
            async with gate:
                return case, await said(case, self.port)

        return list(await asyncio.gather(*(one(number) for number in numbers)))

    def arrived(self) -> Mapping[int | None, list[Received]]:
        """What the upstreams got since the last time, by case; None for what carries no case's tag."""
        found: dict[int | None, list[Received]] = defaultdict(list)
        for upstream in self.upstreams:
            for request in upstream.received:
                number = request.tag.partition(".")[0]
                found[int(number) if number.isdigit() else None].append(request)
            upstream.received.clear()
        return found

    def read_log(self) -> None:
        """The decision log's new lines."""
        with self.site.stack.decisions_path.open("rb") as file:
            file.seek(self._read)
            lines = file.read()
        whole = lines[: lines.rfind(b"\n") + 1]
        self._read += len(whole)
        for record in map(json.loads, whole.splitlines()):
            self._note(record)

    def _note(self, record: Mapping[str, Any]) -> None:
        exchange = record.get("exchange", "")
        if record["kind"] == "decision":
            self.decisions[exchange] = record
        elif record["kind"] == "settlement":
            self.settlements[exchange] += 1
            if record.get("outcome") in ("settled", "kept"):
                self.charged[exchange] = record.get("usage")


def tokens(usage: Mapping[str, int]) -> int:
    return usage["input_tokens"] + usage["output_tokens"]


@contextlib.asynccontextmanager
async def stage(seed: str, **changes: Any) -> AsyncIterator[Stage]:
    """changes: of the policy."""
    async with RawUpstream("standard") as standard, RawUpstream("large") as large:
        urls = {"standard": standard.url, "large": large.url}
        async with running_site(upstreams=urls, filters=patient(chain()), **changes) as site:
            callers = [await site.caller() for _ in range(CALLERS)]
            yield Stage(site, [standard, large], callers, seed)


async def run(stage: Stage, numbers: Sequence[int], report: Report) -> None:
    """Says a batch and judges it."""
    heard = await stage.say(numbers)
    wanted = {answer.headers.get("x-headrace-exchange", "") for _, all_said in heard for answer in all_said.answers} - {""}
    stage.answered |= wanted

    async def decided() -> bool:
        stage.read_log()
        return wanted <= stage.decisions.keys()

    await until(decided, lambda: f"decisions on {list(wanted - stage.decisions.keys())[:3]}")
    arrived = stage.arrived()
    for case, all_said in heard:
        _judged(stage, case, all_said, arrived.get(case.number, []), report)
    strangers = [one for number, ones in arrived.items() if number not in set(numbers) for one in ones]
    report.findings += [Finding("smuggled", -1, f"{one.head!r} {one.body[:300]!r}") for one in strangers]
    report.findings += [Finding("no request", -1, repr(raw)) for upstream in stage.upstreams for raw in upstream.broken]


def _judged(stage: Stage, case: Case, heard: Heard, received: Sequence[Received], report: Report) -> None:
    evidence = Evidence(case, heard, received, stage.decisions, [caller.secret for caller in stage.callers])
    report.requests += len(case.parts)
    report.changes.update(case.told)
    report.outcomes.update(outcomes(evidence))
    report.findings += judge(evidence)


async def books(stage: Stage, report: Report) -> None:
    """At the end: every call that a caller was answered is settled once, and the store holds what the settlements say.

    Of a client that hung up while its budget was asked, nobody may tell what became of it: the lease stands as reserved.
    """
    reserved = {one: decision for one, decision in stage.decisions.items() if "reserved" in decision}
    report.calls = len(reserved)

    async def agree() -> bool:
        stage.read_log()
        return stage.answered & reserved.keys() <= stage.settlements.keys() and not await _faults(stage, reserved)

    with contextlib.suppress(AssertionError):  # what is not there by then is a finding
        await until(agree, "settlements")
    left = reserved.keys() - stage.settlements.keys()
    report.settled, report.left = len(stage.settlements), len(left)
    report.findings += [Finding("settled twice", -1, exchange) for exchange, times in stage.settlements.items() if times > 1]
    report.findings += [Finding("never settled", -1, str(reserved[one])) for one in left & stage.answered]
    report.findings += [Finding("books", -1, fault) for fault in await _faults(stage, reserved)]


async def _faults(stage: Stage, reserved: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Callers of whom the store holds something else than was settled, or stands as reserved."""
    expected: Counter[str] = Counter()
    for exchange in stage.charged.keys() | (reserved.keys() - stage.settlements.keys()):
        decision = reserved[exchange]
        expected[decision["principal"]["user"]] += tokens(stage.charged.get(exchange) or decision["reserved"])
    held = {caller.user: await stage.site.spent(caller) for caller in stage.callers}
    return [f"{user}: {amount} held, {expected[user]} expected" for user, amount in held.items() if amount != expected[user]]
