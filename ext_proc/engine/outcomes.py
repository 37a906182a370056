"""What came of an exchange under a policy, as far as two policies can differ in it: for replay and candidates."""

from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

from msgspec import Struct, field

from headrace.ext_proc.engine.policy.catalogue import is_glob

Record = Mapping[str, Any]
KIND = "candidate"
"""Of the record of an exchange on which a candidate policy was tried."""


class Outcome(Struct, frozen=True):
    """refused: the reason; empty where it was sent. would_refuse: reasons that filters in shadow mode had. route: empty where the
    gateway's own decides. personal: kinds of personal data and how many. failed: filters that failed.
    """

    refused: str = ""
    would_refuse: tuple[str, ...] = ()
    route: str = ""
    model: str = ""
    """That the request is answered by, in the catalogue; where its entry is a glob, as the client wrote it."""
    personal: Mapping[str, int] = field(default_factory=dict)
    action: str = ""
    """What was done with the personal data; empty where it was left, as in shadow mode."""
    failed: tuple[str, ...] = ()


def outcome_of(decision: Record) -> Outcome:
    """From the members of a decision record."""
    steps = decision.get("steps", ())
    searched = [step for step in steps if step["filter"] == "pii" and step["phase"] == "request"]
    notes = [step.get("note", {}) for step in searched]
    metadata = decision.get("metadata", {})
    return Outcome(
        refused=decision.get("reason", "") if decision.get("outcome") == "refused" else "",
        would_refuse=tuple(step["reason"] for step in steps if step["outcome"] == "would_reply"),
        route=str(metadata.get("route", "")),
        model=_answering(str(metadata.get("model", "")), str(decision.get("model", ""))),
        personal={kind: count for note in notes for kind, count in note.get("findings", {}).items()},
        action=", ".join(_action(step["note"]) for step in searched if "action" in step.get("note", {}) and "mode" not in step),
        failed=tuple(step["filter"] for step in steps if step["outcome"] == "failed"),
    )


def _answering(entry: str, asked: str) -> str:
    return asked if is_glob(entry) else entry


def _action(note: Record) -> str:
    action = note["action"]
    return action if isinstance(action, str) else ", ".join(f"{kind} {done}" for kind, done in action.items())


def changes(old: Outcome, new: Outcome) -> Iterator[str]:
    """In what they differ, each in the same words for every exchange, so that they can be counted."""
    if old.refused != new.refused:
        yield f"{_ended(old)} → {_ended(new)}"
    elif old.route != new.route:
        yield f"to {old.route or 'its route'} → to {new.route or 'its route'}"
    if old.model != new.model and old.model and new.model and not (old.refused or new.refused):
        yield f"answered by {old.model} → by {new.model}"
    yield from _listed("would be refused", old.would_refuse, new.would_refuse)
    yield from _listed("failed:", old.failed, new.failed)
    for kind in sorted(old.personal.keys() | new.personal.keys()):
        if bool(old.personal.get(kind)) != bool(new.personal.get(kind)):
            yield f"{kind} {'found' if new.personal.get(kind) else 'no longer found'}"
    if old.action != new.action and old.personal and new.personal and not new.refused:
        yield f"personal data: {old.action or 'left'} → {new.action or 'left'}"


def _ended(outcome: Outcome) -> str:
    return f"refused {outcome.refused}" if outcome.refused else "sent"


def _listed(words: str, old: tuple[str, ...], new: tuple[str, ...]) -> Iterator[str]:
    yield from (f"{words} {one}" for one in new if one not in old)
    yield from (f"no longer {words} {one}" for one in old if one not in new)


class Cost(Struct):
    """Sums over exchanges."""

    requests: int = 0
    refused: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    usd: Decimal = Decimal(0)

    def add(self, outcome: Outcome, settlement: Record) -> None:
        """settlement: the members of the record, empty where nothing was settled."""
        usage = settlement.get("usage", {})
        self.requests += 1
        self.refused += bool(outcome.refused)
        self.input_tokens += usage.get("input_tokens", 0)
        self.output_tokens += usage.get("output_tokens", 0)
        self.usd += Decimal(settlement.get("usd", "0"))
