"""What a run found, as `build/soak.json` and as plots beside it."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.soak.evidence import ALL_LOSSES, Loss
from tests.soak.faults.base import Window
from tests.soak.heard import Verdict
from tests.soak.resources import Series, slopes

OURS = ("worker", "supervisor")
SETTLING_S = 1.0
"""After a window, an answer may still be late because of what it left behind."""
KEPT_LOSSES = 200
"""Whose words are in the report."""


@dataclass(frozen=True)
class Timed:
    """A quick request that was answered whole. at_s: when it was sent, in the run; ms: to its answer's last byte."""

    at_s: float
    ms: float
    faulty: bool


@dataclass
class Report:
    """minutes: how long requests were sent. exact, bounded: charges that equal the pool's books, and those within a bound."""

    seed: int
    began: float
    minutes: float = 0.0
    warm_up_s: float = 120.0
    requests: int = 0
    events: int = 0
    rounds: int = 0
    windows: list[Window] = field(default_factory=list)
    strikes: Counter[str] = field(default_factory=Counter)
    reloads: Counter[str] = field(default_factory=Counter)
    outcomes: Counter[str] = field(default_factory=Counter)
    unexplained: Counter[str] = field(default_factory=Counter)
    ledger: Counter[str] = field(default_factory=Counter)
    audit_records: int = 0
    concerned: int = 0
    losses: list[Loss] = field(default_factory=list)
    timed: list[Timed] = field(default_factory=list)
    series: Sequence[Series] = ()
    unavailable: dict[str, str] = field(default_factory=dict)

    def times(self, verdicts: Sequence[Verdict], windows: Sequence[Window]) -> None:
        for verdict in verdicts:
            if verdict.ask.quick and verdict.complete and verdict.status == 200:
                faulty = any(one.began <= verdict.ended and verdict.began <= one.ended + SETTLING_S for one in windows)
                self.timed.append(Timed(verdict.began - self.began, (verdict.ended - verdict.began) * 1000, faulty))

    def document(self) -> dict[str, Any]:
        rss = slopes(self.series, self.warm_up_s, lambda sample: sample.rss_mb)
        fds = slopes(self.series, self.warm_up_s, lambda sample: sample.fds)
        return {
            "minutes": round(self.minutes, 2),
            "requests": self.requests,
            "events": self.events,
            "faults": dict(sorted(self.strikes.items())),
            "losses": {kind: sum(loss.kind == kind for loss in self.losses) for kind in ALL_LOSSES},
            "rss_mb_per_hour": _steepest(rss),
            "fds_per_hour": _steepest(fds),
            "p99_ms_quiet": percentile([one.ms for one in self.timed if not one.faulty], 0.99),
            "p99_ms_faults": percentile([one.ms for one in self.timed if one.faulty], 0.99),
            **self._more(rss, fds),
        }

    def _more(self, rss: Mapping[str, float | None], fds: Mapping[str, float | None]) -> dict[str, Any]:
        first = self.windows[0].began - self.began if self.windows else float("inf")
        before = [one.ms for one in self.timed if one.at_s < first]
        return {
            "seed": self.seed,
            "rounds": self.rounds,
            "p99_ms_before_the_first_fault": percentile(before, 0.99),
            "p50_ms": {what: percentile([one.ms for one in self.timed if one.faulty is (what == "faults")], 0.5) for what in _WHEN},
            "timed": {what: sum(one.faulty is (what == "faults") for one in self.timed) for what in _WHEN},
            "reloads": dict(sorted(self.reloads.items())),
            "outcomes": dict(self.outcomes.most_common()),
            "refused_outside_windows": dict(self.unexplained.most_common()),
            "ledger": dict(sorted(self.ledger.items())),
            "concerned_by_a_fault": self.concerned,
            "audit_records": self.audit_records,
            "slopes_by_process": {role: {"rss_mb_per_hour": rss[role], "fds_per_hour": fds[role]} for role in sorted(rss)},
            "faults_unavailable": self.unavailable,
            "lost": [f"{loss.kind} {loss.number}: {loss.what}" for loss in self.losses[:KEPT_LOSSES]],
        }

    def write(self, path: Path) -> None:
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(self.document(), indent=1) + "\n")


_WHEN = ("quiet", "faults")


def _steepest(by_role: Mapping[str, float | None]) -> float | None:
    """Of the service's own processes."""
    known = [value for role in OURS if (value := by_role.get(role)) is not None]
    return round(max(known), 3) if known else None


def percentile(values: Sequence[float], share: float) -> float | None:
    """The nearest rank; None of nothing."""
    if not values:
        return None
    ordered = sorted(values)
    return round(ordered[min(int(len(ordered) * share), len(ordered) - 1)], 2)
