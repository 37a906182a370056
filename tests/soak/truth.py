"""The books side by side: what callers and pools say, what the ledger, the counters and the audit log have."""

import asyncio
import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from headrace.ext_proc.core.ledger import Charge, Closing
from headrace.ext_proc.core.principal import Principal
from headrace.ext_proc.engine.budgets.limits import MINUTE_MS, limits_of
from headrace.ext_proc.engine.clock import SystemClock
from headrace.ext_proc.engine.policy.models import PolicyDocument
from headrace.ext_proc.stores.wire import open_key
from tests.e2e.chaos import open_record
from tests.e2e.served import HEADRACE
from tests.soak.answering import answered_wrongly
from tests.soak.asks import ORGANISATIONS
from tests.soak.auditing import recorded_wrongly
from tests.soak.charging import beyond_reserved, charged_wrongly
from tests.soak.evidence import Audited, Case, Loss, Losses
from tests.soak.policy import MODEL
from tests.soak.site import Site

Team = tuple[str, str]
"""Organisation and team."""
KINDS = ("decision", "forwarded", "settlement")


def losses_of(case: Case) -> Losses:
    """Everything that one request shows to be wrong."""
    yield from charged_wrongly(case)
    yield from answered_wrongly(case)
    yield from recorded_wrongly(case)


class Ledger:
    """Reads the ledgers on from where it stopped. tokens: charged so far, by organisation."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._last = {f"org{which}": "" for which in range(ORGANISATIONS)}
        self.tokens: Counter[str] = Counter()

    @property
    def organisations(self) -> Sequence[str]:
        return list(self._last)

    async def read_on(self) -> Mapping[int, list[Mapping[str, str]]]:
        """The new records, by the number of their request."""
        found: defaultdict[int, list[Mapping[str, str]]] = defaultdict(list)
        for organisation in self._last:
            while page := await self._site.ledger.entries(organisation, after=self._last[organisation]):
                self._last[organisation] = page[-1].id
                for entry in page:
                    found[int(entry.members["key"])].append(entry.members)
                    self.tokens[organisation] += _tokens(entry.members)
        return found


def _tokens(record: Mapping[str, str]) -> int:
    return 0 if record["outcome"] == "released" else int(record["input_tokens"]) + int(record["output_tokens"])


class AuditLog:
    """Reads the chains on from where it stopped, by request and by exchange."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._read: dict[Path, int] = {}
        self.by_exchange: defaultdict[str, Audited] = defaultdict(Audited)
        self.by_number: defaultdict[int, set[str]] = defaultdict(set)
        self.records = 0

    def read_on(self) -> None:
        for path in sorted(self._directory.glob("chains/*/*.jsonl")):
            with path.open("rb") as file:
                file.seek(self._read.get(path, 0))
                *lines, _ = file.read().split(b"\n")
            self._read[path] = self._read.get(path, 0) + sum(len(line) + 1 for line in lines)
            for line in lines:
                self._note(json.loads(line))

    def _note(self, line: Mapping[str, Any]) -> None:
        if line["kind"] not in KINDS:
            return
        self.records += 1
        record = line["record"]
        self.by_exchange[record["exchange"]].notes(line["kind"], record)
        key = record.get("principal", record).get("key")
        if key is not None:
            self.by_number[int(key)].add(record["exchange"])

    def of(self, number: int, exchange: str) -> Mapping[str, Audited]:
        """exchange: the one that the caller was told, which may have no number."""
        known = {exchange} if exchange in self.by_exchange else set()
        return {name: self.by_exchange[name] for name in self.by_number.get(number, set()) | known}

    def forget(self) -> None:
        self.by_exchange.clear()
        self.by_number.clear()


async def verified(site: Site) -> list[Loss]:
    """What `headrace audit verify` finds wrong."""
    process = await asyncio.create_subprocess_exec(
        *HEADRACE, "audit", "verify", str(site.audit), "--json", stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, said = await process.communicate()
    problems = json.loads(out).get("problems", []) if out else [said.decode()]
    return [Loss("audit_broken", -1, str(problem)) for problem in problems or ([said.decode()] if process.returncode else [])]


def open_leases(site: Site, organisation: str) -> Mapping[int, float]:
    """The number of each request whose lease is open → when it lapses (epoch ms)."""
    found = site.store.server.ask("ZRANGE", open_key(organisation), 0, -1, "WITHSCORES")
    return {int(open_record(entry)["key"]): float(score) for entry, score in found}


async def lapse(site: Site, organisation: str) -> int:
    """Let the time pass that open leases last: the store hears of it from whoever calls. How many leases those were."""
    left = found = await asyncio.to_thread(open_leases, site, organisation)
    while left:
        await site.ledger.settle_many(organisation, [Closing("nobody's", {})], now_ms=int(max(left.values())) + 1)
        left = await asyncio.to_thread(open_leases, site, organisation)
    return len(found)


class Counters:
    """What the store's counters hold, beside what the ledger adds up to."""

    def __init__(self, site: Site) -> None:
        self._site = site
        document = PolicyDocument.model_validate(site.good_policy())
        self._limits = limits_of(document, lambda where, what: None)

    def _charges(self, principal: Principal) -> dict[str, Charge]:
        amounts: Any = dict.fromkeys(("tokens", "input_tokens", "output_tokens", "nano_usd", "requests", "concurrency"), 0)
        now_ms = SystemClock().now_ms()
        found = [limit.slot(principal, MODEL, now_ms // MINUTE_MS).charge(amounts) for limit in self._limits]
        return {charge.counter.partition(":")[0]: charge for charge in found}

    async def _used(self, principal: Principal, budget: str) -> tuple[int, int]:
        """What is used, and the limit."""
        charge = self._charges(principal)[budget]
        (used,) = await self._site.ledger.read(principal.organisation, [charge], now_ms=SystemClock().now_ms())
        return used, charge.limit

    async def differ(
        self, teams: Mapping[Team, int], beyond: Mapping[Team, int], tokens: Mapping[str, int], lapsed: Mapping[str, int]
    ) -> list[Loss]:
        """teams: nano-USD by the ledger. beyond: what of it no reservation has held. tokens: by organisation, ever.

        lapsed: leases by organisation that lapsed before their time, until which each counts as one that runs.
        """
        found = []
        for (organisation, team), nano in teams.items():
            used, limit = await self._used(Principal(organisation, team, None, None, None), "team")
            found += list(
                compared(f"{organisation}/{team}: {used} nano-USD", used, nano, limit + beyond.get((organisation, team), 0))
            )
        for organisation, charged in tokens.items():
            principal = Principal(organisation, None, None, None, None)
            used, limit = await self._used(principal, "all")
            found += list(compared(f"{organisation}: {used} tokens", used, charged, limit))
            running, _ = await self._used(principal, "at-once")
            if running > lapsed.get(organisation, 0):
                found.append(Loss("books_differ", -1, f"{organisation}: {running} at once, and nobody asks"))
        return found


def compared(what: str, used: int, ledger: int, limit: int) -> Iterator[Loss]:
    if used != ledger:
        yield Loss("books_differ", -1, f"{what}, the ledger adds up to {ledger}")
    if used > limit:
        yield Loss("over_budget", -1, f"{what}, the limit is {limit}")


def beyond_by_team(cases: Sequence[Case]) -> Mapping[Team, int]:
    """Nano-USD above what was reserved."""
    found: Counter[Team] = Counter()
    for case in cases:
        found[case.verdict.ask.tenant.organisation, case.verdict.ask.tenant.team] += beyond_reserved(case)
    return found


def spent_by_team(records: Mapping[int, Sequence[Mapping[str, str]]]) -> Mapping[Team, int]:
    """Nano-USD of the charged ones."""
    found: Counter[Team] = Counter()
    for record in (one for several in records.values() for one in several):
        if record["outcome"] != "released":
            found[record["organisation"], record["team"]] += int(record["nano_usd"])
    return found
