"""A run: rounds of traffic and faults, and after each a quiet point at which the books are compared."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass

from tests.e2e.site import until
from tests.soak.answering import unexplained
from tests.soak.calling import Calling
from tests.soak.driver import Driver
from tests.soak.evidence import Case, Loss
from tests.soak.faults.base import Bound, Fault, Splicer
from tests.soak.faults.catalogue import faults as catalogue
from tests.soak.report import Report
from tests.soak.resources import sampling
from tests.soak.schedule import Schedule, reloading
from tests.soak.site import Site, running_site
from tests.soak.truth import AuditLog, Counters, Ledger, beyond_by_team, lapse, losses_of, open_leases, spent_by_team, verified

LATE_S = 1.0
"""What follows an exchange into the audit log takes 50 ms, on a machine that has time for it."""


@dataclass(frozen=True)
class Plan:
    """before_s: of traffic without any fault. Each round: struck_s with faults, calm_s without, and then none asks."""

    seed: int
    rounds: int
    before_s: float
    struck_s: float
    calm_s: float
    per_second: float
    warm_up_s: float

    @classmethod
    def of_minutes(cls, minutes: float, seed: int, per_second: float) -> "Plan":
        """Rounds of some five minutes, a twelfth of the time before them."""
        rounds = max(1, round(minutes / 5))
        seconds = minutes * 60
        each = seconds * 11 / 12 / rounds
        return cls(seed, rounds, seconds / 12, each * 0.9, each * 0.1, per_second, min(120.0, seconds / 6))

    def spares(self, round_: int) -> bool:
        """Whether the service's own processes live through that round: the middle half, so that their memory can be followed."""
        return self.rounds // 4 <= round_ < self.rounds - self.rounds // 4 and self.rounds >= 4


class Run:
    """One site, from its start to its report."""

    def __init__(self, site: Site, plan: Plan, driver: Driver, schedule: Schedule) -> None:
        self.site = self._site = site
        self._plan, self._driver, self._schedule = plan, driver, schedule
        self._lapsed: dict[str, int] = {}
        self._ledger, self._audit, self._counters = Ledger(site), AuditLog(site.audit), Counters(site)
        self.report = Report(plan.seed, asyncio.get_running_loop().time(), warm_up_s=plan.warm_up_s)

    async def run(self) -> None:
        await self._ask_for(self._plan.before_s)
        for number in range(self._plan.rounds):
            self._driver.round = number
            self._schedule.sparing = self._plan.spares(number)
            await self._struck()
            await self._ask_for(self._plan.calm_s)
            await self._compare()
            print(f"round {number + 1} of {self._plan.rounds}: {self._summary()}", flush=True)

    async def _struck(self) -> None:
        asking = asyncio.create_task(self._ask_for(self._plan.struck_s))
        await self._schedule.strike_for(self._plan.struck_s)
        await asking

    async def _ask_for(self, seconds: float) -> None:
        await self._driver.ask_for(seconds)
        self.report.minutes += seconds / 60

    def _summary(self) -> str:
        report = self.report
        return f"{report.requests} requests, {sum(report.strikes.values())} faults, {len(report.losses)} losses"

    async def _compare(self) -> None:
        """Everything that this round has asked, beside what the others say of it; then it is forgotten."""
        await self._quiet()
        losses = await self._unsettled()
        await asyncio.sleep(LATE_S)
        records = await self._ledger.read_on()
        await asyncio.to_thread(self._audit.read_on)
        cases = self._cases(records)
        losses += [loss for case in cases for loss in losses_of(case)]
        self.report.unexplained.update(why for case in cases if (why := unexplained(case)))
        spent, beyond = spent_by_team(records), beyond_by_team(cases)
        losses += await self._counters.differ(spent, beyond, self._ledger.tokens, self._lapsed)
        losses += await verified(self._site)
        self._note(cases, losses)
        self._forget()

    async def _quiet(self) -> None:
        """Everybody has been answered, no pool writes, and what the workers have to say to the store is said."""
        await self._driver.drained()

        async def said() -> bool:
            lines = [line for line in (await self._site.metrics()).splitlines() if line.startswith("headrace_effects_waiting")]
            return await self._site.ready() and not self._site.books.running and all(line.endswith(" 0.0") for line in lines)

        await until(said, lambda: f"a quiet point; {self._site.books.running} requests run at the pools")

    async def _unsettled(self) -> list[Loss]:
        """Leases that no fault explains. The others lapse now, as they would by themselves."""
        found: list[Loss] = []
        for organisation in self._ledger.organisations:
            left: dict[int, float] = {}

            async def explained(organisation: str = organisation, left: dict[int, float] = left) -> bool:
                left.clear()
                leases = await asyncio.to_thread(open_leases, self._site, organisation)
                left.update({number: at for number, at in leases.items() if not self._may_stay(number)})
                return not left

            with contextlib.suppress(AssertionError):
                await until(explained, "settlements")
            found += [Loss("lease_open", number, f"of {organisation}") for number in left]
            self._lapsed[organisation] = await lapse(self._site, organisation)
        return found

    def _may_stay(self, number: int) -> bool:
        verdict = self._driver.verdicts.get(number)
        return verdict is not None and Bound.AS_RESERVED in Case(verdict, windows=self._schedule.windows).bound

    def _cases(self, records: Mapping[int, Sequence[Mapping[str, str]]]) -> list[Case]:
        return [
            Case(
                verdict,
                self._site.books.by_request.get(number, ()),
                records.get(number, ()),
                self._audit.of(number, verdict.exchange),
                self._schedule.windows,
            )
            for number, verdict in self._driver.verdicts.items()
        ]

    def _note(self, cases: Sequence[Case], losses: Sequence[Loss]) -> None:
        report = self.report
        report.times([case.verdict for case in cases], self._schedule.windows)
        report.requests += len(cases)
        report.concerned += sum(case.bound is not Bound.NOTHING for case in cases)
        report.ledger.update(record["outcome"] for case in cases for record in case.records)
        report.losses += losses
        for loss in losses:
            print(f"{loss.kind} {loss.number}: {loss.what}", flush=True)
        report.rounds += 1
        report.events, report.outcomes = self._driver.events, self._driver.outcomes
        report.windows, report.strikes = self._schedule.windows, self._schedule.strikes
        report.audit_records = self._audit.records

    def _forget(self) -> None:
        self._driver.verdicts.clear()
        self._site.books.by_request.clear()
        self._audit.forget()


@contextlib.asynccontextmanager
async def running(plan: Plan, faults: Sequence[Fault], splicer: Splicer, *, tcp: bool) -> AsyncIterator[Run]:
    async with running_site(faults, splicer, tcp=tcp) as site, Calling(site.url, site.signer, plan.seed) as callers:
        driver = Driver(callers, plan.seed, plan.per_second)
        yield Run(site, plan, driver, Schedule(site, faults, plan.seed))


async def soak(plan: Plan, only: Collection[str] = (), *, tcp: bool = False) -> Report:
    """The whole run. only: kinds of faults, all where it is empty. tcp: Envoy calls the service over TCP.

    Raises what a fault or the driver could not do.
    """
    every, splicer = catalogue(plan.seed, tcp=tcp)
    faults = [fault for fault in every if not only or fault.kind in only]
    missing = {fault.kind: why for fault in faults if (why := fault.unavailable())}
    faults = [fault for fault in faults if fault.kind not in missing]
    async with running(plan, faults, splicer, tcp=tcp) as run:
        run.report.unavailable = missing
        async with sampling(run.site) as resources, reloading(run.site, plan.seed) as offered:
            run.report.reloads = offered
            await run.run()
            run.report.series = list(resources.series.values())
        return run.report
