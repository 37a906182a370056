"""What a provider says was used, beside what the ledger says."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta, tzinfo
from decimal import Decimal
from enum import StrEnum
from functools import lru_cache
from typing import Final

from headrace.ext_proc.engine.policy.catalogue import is_glob
from headrace.ext_proc.engine.usage.grouping import NANO, Sums
from headrace.ext_proc.engine.usage.invoice import InvoiceError, Line

BY: Final = ("day", "model")
NO_MODEL: Final = "(none)"
LINES_KEPT: Final = 5
"""Numbers of lines that a comparison names; an export by the minute has a thousand of one day."""

GROUPS_MAX: Final = 200_000
"""Days and models, some 2 KB each: ten years of fifty models."""

_DATED: Final = re.compile(r"[-@](\d{4}-\d{2}-\d{2}|\d{8}|(0[1-9]|1[0-2])[0-3]\d|latest)$", re.ASCII)


@lru_cache(4096)  # asked for each record
def shared_name(model: str) -> str:
    """What an invoice, a request and a catalogue agree in: `Claude Sonnet 4.5` and `claude-sonnet-4-5-20250929` are one. Versions
    by date are one model, on both sides.
    """
    return _DATED.sub("", re.sub(r"[\s.]+", "-", model.strip().lower())) or NO_MODEL


@dataclass(frozen=True)
class Tolerance:
    """percent: of what the invoice says. usd: of one line, for providers that round to cents."""

    percent: Decimal = Decimal(1)
    usd: Decimal = Decimal("0.01")

    def allows(self, measure: str, invoice: Decimal, ledger: Decimal) -> bool:
        most = abs(invoice) * self.percent / 100
        return abs(ledger - invoice) <= (max(most, self.usd) if measure == "usd" else most)


class Verdict(StrEnum):
    AGREES = "agrees"
    DIFFERS = "differs"
    UNKNOWN = "not in the ledger"
    UNBILLED = "not in the invoice"


@dataclass(frozen=True)
class Pair:
    """One measure on both sides."""

    measure: str
    invoice: Decimal
    ledger: Decimal
    agrees: bool

    @property
    def difference(self) -> Decimal:
        return self.ledger - self.invoice


@dataclass(frozen=True)
class Comparison:
    """key: values of what it is compared by. lines: the first of the file's; line_count: how many there are. requests: the
    ledger's. estimated: those whose usage no provider reported, so that the ledger has what was reserved. unpriced: without money.
    """

    key: Sequence[str]
    verdict: Verdict
    pairs: Sequence[Pair]
    lines: Sequence[int]
    line_count: int
    requests: int
    estimated: int
    unpriced: int


@dataclass
class _Group:
    invoice: dict[str, Decimal] = field(default_factory=dict)
    lines: list[int] = field(default_factory=list)
    line_count: int = 0
    ledger: Sums = field(default_factory=Sums)
    estimated: int = 0
    unpriced: int = 0

    def bill(self, line: Line) -> None:
        self.line_count += 1
        if len(self.lines) < LINES_KEPT:
            self.lines.append(line.number)
        for measure, amount in line.amounts.items():
            self.invoice[measure] = self.invoice.get(measure, Decimal(0)) + amount

    def book(self, record: Mapping[str, str]) -> None:
        self.ledger.add(record)
        if record.get("outcome") != "released":
            self.estimated += record.get("outcome") != "settled"
            self.unpriced += "nano_usd" not in record

    def compared(self, key: Sequence[str], measures: Sequence[str], tolerance: Tolerance) -> Comparison:
        pairs = [self._pair(measure, tolerance) for measure in measures]
        return Comparison(
            key, self._verdict(pairs), pairs, self.lines, self.line_count, self.ledger.requests, self.estimated, self.unpriced
        )

    def _pair(self, measure: str, tolerance: Tolerance) -> Pair:
        counts = {"requests": self.ledger.requests, **self.ledger.tokens}
        ledger = Decimal(self.ledger.nano_usd) / NANO if measure == "usd" else Decimal(counts[measure])
        invoice = self.invoice.get(measure, Decimal(0))
        return Pair(measure, invoice, ledger, tolerance.allows(measure, invoice, ledger))

    def _verdict(self, pairs: Sequence[Pair]) -> Verdict:
        if all(pair.agrees for pair in pairs):
            return Verdict.AGREES
        if not self.line_count:
            return Verdict.UNBILLED
        return Verdict.DIFFERS if self.ledger.requests else Verdict.UNKNOWN


@dataclass(frozen=True)
class Scope:
    """What is compared. by: of BY, at least one. measures: of MEASURES. zone: of the ledger's days. start: the first day, end: the
    day after the last; as the invoice's lines have them when None. names: the provider's → the ledger's, where names differ.
    """

    by: Sequence[str]
    measures: Sequence[str]
    zone: tzinfo = UTC
    start: date | None = None
    end: date | None = None
    names: Mapping[str, str] = field(default_factory=dict)

    def holds(self, line: Line) -> bool:
        """Raises InvoiceError for a line that is within in part, or covers more than one of what is compared."""
        if "day" in self.by and line.first != line.last:
            raise InvoiceError(
                f"{_covers(line)}; ask the provider for an export by the day, or compare by model alone", line.number
            )
        inside = [self._has(day) for day in (line.first, line.last)]
        if inside[0] != inside[1]:
            raise InvoiceError(f"{_covers(line)}, of which only a part is asked for", line.number)
        return inside[0]

    def _has(self, day: date) -> bool:
        return (self.start is None or self.start <= day) and (self.end is None or day < self.end)


def _covers(line: Line) -> str:
    return f"covers {line.first} to {line.last}"


class Reconciliation:
    """Takes the invoice's lines, then the ledger's records of `span`, and compares them group by group."""

    def __init__(self, scope: Scope) -> None:
        self.scope = scope
        self._names = {shared_name(one): shared_name(other) for one, other in scope.names.items()}
        self._groups: dict[tuple[str, ...], _Group] = {}
        self._total = _Group()
        self._days: tuple[date, date] | None = None

    def bill(self, line: Line) -> None:
        """Raises InvoiceError, see Scope.holds."""
        if self.scope.holds(line):
            first, last = self._days or (line.first, line.last)
            self._days = min(first, line.first), max(last, line.last)
            name = shared_name(line.model)
            self._group(line.first, self._names.get(name, name)).bill(line)
            self._total.bill(line)

    @property
    def span(self) -> tuple[int, int] | None:
        """The days that are compared, in epoch ms, the second not included. None where the invoice has no line of that time."""
        if self._days is None:
            return None
        start, end = self.scope.start or self._days[0], self.scope.end or self._days[1] + timedelta(days=1)
        return self._midnight(start), self._midnight(end)

    def _midnight(self, day: date) -> int:
        return int(datetime(day.year, day.month, day.day, tzinfo=self.scope.zone).timestamp() * 1000)

    def book(self, record: Mapping[str, str]) -> None:
        """One record of the ledger, within `span`."""
        day = datetime.fromtimestamp(int(record["at_ms"]) / 1000, self.scope.zone).date()
        self._group(day, shared_name(_model_of(record))).book(record)
        self._total.book(record)

    def _group(self, day: date, model: str) -> _Group:
        names = {"day": day.isoformat(), "model": model}
        key = tuple(names[name] for name in self.scope.by)
        if key not in self._groups and len(self._groups) >= GROUPS_MAX:
            raise InvoiceError(f"over {GROUPS_MAX:,} days and models; compare a shorter time")
        return self._groups.setdefault(key, _Group())

    def comparisons(self, tolerance: Tolerance) -> Iterator[Comparison]:
        """By day, then model."""
        for key, group in sorted(self._groups.items()):
            yield group.compared(key, self.scope.measures, tolerance)

    def total(self, tolerance: Tolerance) -> Comparison:
        return self._total.compared(["total", *[""] * (len(self.scope.by) - 1)], self.scope.measures, tolerance)


def _model_of(record: Mapping[str, str]) -> str:
    """That served, which a provider bills; the name that was asked for where one entry of the catalogue stands for many."""
    served = record.get("served", "")
    return record.get("model", "") if not served or is_glob(served) else served
