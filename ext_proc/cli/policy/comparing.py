"""What a candidate would have done otherwise, from the records of the decision log."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
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
                named.append(record["exchange"])


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
    except ValueError:
        return None
    return record if isinstance(record, dict) and record.get("kind") == KIND and "candidate" in record else None


def document(found: Found) -> Mapping[str, Any]:
    """What `--json` prints."""
    rows = [
        {"change": change, "exchanges": count, "examples": found.examples[change]} for change, count in found.changes.most_common()
    ]
    return {
        "policy": found.policy,
        "candidate": found.candidate,
        "tried": found.tried,
        "different": found.outcomes["different"],
        "passed_over": found.outcomes["passed_over"],
        "failed": found.outcomes["failed"],
        "changes": rows,
        "teams": dict(found.teams.most_common()),
    }


def told(found: Found) -> Iterator[str]:
    """The same for people."""
    different = found.outcomes["different"]
    share = f" ({different / found.tried:.1%})" if found.tried else ""
    yield f"candidate {found.candidate} beside {found.policy}: {different} of {found.tried} exchanges differ{share}"
    for change, count in found.changes.most_common():
        yield f"{count:>8}  {change}{_such_as(found.examples[change])}"
    if found.teams:
        yield f"teams     {', '.join(f'{name} {count}' for name, count in found.teams.most_common(10))}"
    left = [f"{count} {words}" for name, words in _LEFT.items() if (count := found.outcomes[name])]
    if left:
        yield f"besides   {', '.join(left)}"


_LEFT = {"passed_over": "not tried, for the worker was too busy", "failed": "could not be tried"}


def _such_as(ids: list[str]) -> str:
    return f"; such as {', '.join(ids)}" if ids else ""
