"""Reading an audit log, also while it is written: the console's, the commands' and replay's way in. Nothing is checked here; that
is `verifying`.

    for entry in entries(Path("audit"), Wanted(outcome="refused"), newest_first=True): ...
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from heapq import merge
from itertools import islice
from pathlib import Path
from typing import Any, Final

from headrace.ext_proc.audit.home import Home
from headrace.ext_proc.audit.lines import CHECKPOINT, SEGMENT, Line, decoded, spelled
from headrace.ext_proc.audit.tail import reversed_lines

INTERNAL: Final = frozenset({CHECKPOINT, SEGMENT})
"""Kinds that hold the chain together and record nothing."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A record where it stands. chain: of which worker, since when."""

    chain: str
    segment: int
    line: Line

    @property
    def exchange(self) -> str:
        return str(self.line.record.get("exchange", ""))


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which records: all that is given must hold. start_ms, end_ms: epoch; the end is not included. principal: level → value.

    outcome: of a decision or a settlement, such as refused. reason: of a decision or of one of its steps, such as budget.exhausted.
    """

    kinds: frozenset[str] = frozenset()
    start_ms: int | None = None
    end_ms: int | None = None
    exchange: str = ""
    principal: Mapping[str, str] = field(default_factory=dict)
    outcome: str = ""
    reason: str = ""
    model: str = ""

    def takes(self, line: Line) -> bool:
        record = line.record
        return (
            line.kind not in INTERNAL
            and (not self.kinds or line.kind in self.kinds)
            and self._in_time(line.time)
            and self.exchange in ("", record.get("exchange"))
            and self.outcome in ("", record.get("outcome"))
            and self.model in ("", record.get("model"), record.get("asked"))
            and (not self.reason or self.reason in reasons_of(record))
            and self._is_caller(record)
        )

    def _in_time(self, time: str) -> bool:
        return (self.start_ms is None or spelled(self.start_ms) <= time) and (self.end_ms is None or time < spelled(self.end_ms))

    def _is_caller(self, record: Mapping[str, Any]) -> bool:
        """A decision has a principal, a settlement its parts."""
        caller = record.get("principal", record)
        return all(caller.get(level) == value for level, value in self.principal.items())

    def may_be(self, raw: bytes) -> bool:
        """False for lines that need not be decoded."""
        return not self.exchange or self.exchange.encode() in raw


EVERYTHING: Final = Wanted()


def reasons_of(record: Mapping[str, Any]) -> Iterator[str]:
    """Of the reply that ended the exchange, and of each verdict."""
    yield str(record.get("reason", ""))
    for step in record.get("steps", ()):
        yield str(step.get("reason", ""))


def entries(directory: Path, wanted: Wanted = EVERYTHING, *, newest_first: bool = False) -> Iterator[Entry]:
    """In the order of their time, over all workers. What a crash has torn is passed over. Raises OSError.

    The records of one chain come as they were written.
    """
    home = Home(directory)
    chains = [_of_chain(home, name, wanted, newest_first=newest_first) for name in home.names()]
    return merge(*chains, key=lambda entry: entry.line.time, reverse=newest_first)


def latest(directory: Path, wanted: Wanted, limit: int) -> Sequence[Entry]:
    """The last `limit`, the newest first."""
    return list(islice(entries(directory, wanted, newest_first=True), limit))


def of_exchange(directory: Path, exchange: str) -> Sequence[Entry]:
    """All that is recorded of one exchange, oldest first: `forwarded`, `decision`, `pii`, `settlement`."""
    return list(entries(directory, Wanted(exchange=exchange)))


def _of_chain(home: Home, name: str, wanted: Wanted, *, newest_first: bool) -> Iterator[Entry]:
    paths = home.segments(name)
    for path in reversed(paths) if newest_first else paths:
        number = int(path.stem)
        for raw in _lines(path, newest_first=newest_first):
            if wanted.may_be(raw) and (line := decoded(raw)) is not None and wanted.takes(line):
                yield Entry(name, number, line)


def _lines(path: Path, *, newest_first: bool) -> Iterator[bytes]:
    """None of a file that was removed meanwhile."""
    try:
        if newest_first:
            yield from reversed_lines(path)
            return
        with path.open("rb") as file:
            yield from (line.rstrip(b"\n") for line in file if line.endswith(b"\n"))
    except FileNotFoundError:
        return
