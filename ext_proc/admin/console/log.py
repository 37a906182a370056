"""What was decided, to be searched: what a source of records must be able to do."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from headrace.ext_proc.core.errors import HeadraceError

Record = Mapping[str, Any]
"""Members of one line of the decision log, `time` and `kind` included; see docs/operations.md."""
Verdict = Literal["sent", "refused", "would_refuse", "failed"]


class LogUnreadable(HeadraceError):
    """The records cannot be read; the message says why."""


@dataclass(frozen=True, slots=True)
class Search:
    """Which decisions. Texts are parts of what they are compared with, whatever their case; empty: any. Times are epoch ms."""

    who: str = ""
    model: str = ""
    verdict: Verdict | None = None
    reason: str = ""
    start_ms: int | None = None
    end_ms: int | None = None

    def takes(self, record: Record) -> bool:
        """Whether a decision's record is meant, its time left aside."""
        return (
            _within(self.who, record.get("principal", {}).values())
            and _within(self.model, (record.get("model", ""),))
            and _within(self.reason, (record.get("reason", ""), *(step["reason"] for step in record.get("steps", ()))))
            and (self.verdict is None or self.verdict in verdicts(record))
        )


def verdicts(record: Record) -> set[Verdict]:
    """What came of it."""
    outcomes = {step["outcome"] for step in record.get("steps", ())}
    found: set[Verdict] = {"refused" if record.get("outcome") == "refused" else "sent"}
    if "would_reply" in outcomes:
        found.add("would_refuse")
    if "failed" in outcomes:
        found.add("failed")
    return found


def _within(wanted: str, values: Any) -> bool:
    return not wanted or any(wanted.casefold() in str(value).casefold() for value in values)


@dataclass(frozen=True, slots=True)
class Found:
    """The latest first. next: where the search goes on, empty where everything was read. back_to: how far that was, ISO 8601."""

    records: Sequence[Record]
    next: str = ""
    back_to: str = ""


class DecisionSource(Protocol):
    """Every method raises LogUnreadable, and reads a bounded part, off the event loop."""

    async def search(self, wanted: Search, after: str, limit: int) -> Found:
        """Decisions. after: `next` of the page before, else empty."""
        ...

    async def about(self, exchange: str) -> Sequence[Record]:
        """Every record of one exchange, the oldest first; none where it is not in the log, or too far back."""
        ...

    async def latest(self, kind: str, most: int) -> Sequence[Record]:
        """The last records of a kind, the latest first."""
        ...
