"""What everybody wrote down about one request: the caller, the pools, the ledger, the audit log; and which faults concerned it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from tests.soak.books import Served
from tests.soak.faults.base import Bound, Window
from tests.soak.heard import Verdict

ALL_LOSSES = (
    "charged_twice",
    "free_of_charge",
    "wrong_charge",
    "lease_open",
    "over_budget",
    "books_differ",
    "personal_data_upstream",
    "not_restored",
    "foreign_data",
    "refusal_form",
    "refused_wrongly",
    "admitted_wrongly",
    "cut_off",
    "audit_missing",
    "audit_repeated",
    "audit_broken",
)


@dataclass(frozen=True)
class Loss:
    """kind: one of ALL_LOSSES. number: the request's, -1 where it is none's."""

    kind: str
    number: int
    what: str


@dataclass
class Audited:
    """The audit log's records of one exchange: how often each kind is there. reserved: (prompt, answer) as admitted."""

    kinds: dict[str, int] = field(default_factory=dict)
    reserved: tuple[int, int] | None = None

    def notes(self, kind: str, record: Mapping[str, Any]) -> None:
        self.kinds[kind] = self.kinds.get(kind, 0) + 1
        if told := record.get("reserved"):
            self.reserved = (int(told["input_tokens"]), int(told["output_tokens"]))


@dataclass(frozen=True)
class Case:
    """One request. records: the ledger's. audited: by exchange, those whose token had the request's number."""

    verdict: Verdict
    served: Sequence[Served] = ()
    records: Sequence[Mapping[str, str]] = ()
    audited: Mapping[str, Audited] = field(default_factory=dict)
    windows: Sequence[Window] = ()

    @property
    def number(self) -> int:
        return self.verdict.ask.number

    @cached_property
    def bound(self) -> Bound:
        """What the faults that concerned it may have cost it."""
        found = Bound.NOTHING
        for window in self.windows:
            if window.concerns(self.verdict.began, self.verdict.ended):
                found |= window.bound
        return found

    @property
    def charges(self) -> Sequence[Mapping[str, str]]:
        return [record for record in self.records if record["outcome"] != "released"]

    @property
    def reserved(self) -> tuple[int, int] | None:
        return next((one.reserved for one in self.audited.values() if one.reserved), None)

    @property
    def broken_upstream(self) -> bool:
        """The pool's answer did not come to its end for a reason of the pool's: its script said so, or it was killed."""
        return any(one.outcome in ("cut", "killed") for one in self.served)

    def loss(self, kind: str, what: str) -> Loss:
        told = f"{what}; {self.verdict.ask.manner.value} {self.verdict.ask.api.value} status {self.verdict.status}"
        return Loss(kind, self.number, f"{told} {self.verdict.exchange} script {self.verdict.ask.script!r}")


Losses = Iterator[Loss]
