"""What a candidate would have done otherwise, from the records of the decision log."""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from headrace.ext_proc.engine.outcomes import KIND


@dataclass
class Found:
    """Of one candidate beside one policy, both by revision. examples: ids of exchanges, for each change."""

    policy: str
    candidate: str
    outcomes: Counter[str] = field(default_factory=Counter)
    changes: Counter[str] = field(default_factory=Counter)
    teams: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=dict)

    @property
    def tried(self) -> int:
        return self.outcomes["same"] + self.outcomes["different"]

    def add(self, record: Mapping[str, Any], most_examples: int) -> None:
        self.outcomes[record["outcome"]] += 1
        changes = record.get("changes", ())
        if changes:
            self.teams[record.get("principal", {}).get("team", "-")] += 1
        for change in changes:
            self.changes[change] += 1
            if len(named := self.examples.setdefault(change, [])) < most_examples:
                named.append(str(record.get("exchange", "-")))


def read(path: Path, most_examples: int) -> Found | None:
    """None where the log has no candidate. Raises OSError. A line that is cut off, or no record, is passed over."""
    found: Found | None = None
    with path.open("rb") as file:
        for record in map(_record, file):
            if record is None:
                continue
            revisions = record["revision"], record["candidate"]
            if found is None or revisions != (found.policy, found.candidate):
                found = Found(*revisions)
            found.add(record, most_examples)
    return found


def _record(line: bytes) -> Mapping[str, Any] | None:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) and record.get("kind") == KIND and record.keys() >= _NEEDED else None


_NEEDED = frozenset({"revision", "candidate", "outcome"})
