"""The audit log as a source: the records of every worker, merged, from the last one back."""

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from itertools import islice
from pathlib import Path

from headrace.ext_proc.admin.console.log import Found, Record, Search
from headrace.ext_proc.admin.console.log_on_disk import LogOnDisk, Readings
from headrace.ext_proc.audit.lines import spelled
from headrace.ext_proc.audit.reading import Wanted, entries

READ = 100_000
"""Decisions that one search reads, some 100 MB in two seconds."""
DECISION = "decision"


def _newest(directory: Path, wanted: Wanted) -> Iterator[Record]:
    for entry in entries(directory, wanted, newest_first=True):
        yield {**entry.line.record, "time": entry.line.time, "kind": entry.line.kind}


def _search(directory: Path, wanted: Search, after: str, limit: int) -> Found:
    """after: how many decisions the pages before have passed, and when the last of them was; the log may have grown since."""
    time, _, passed = after.partition(",")
    behind = int(passed) if passed.isdecimal() else 0
    begin, end = (spelled(at) if at is not None else None for at in (wanted.start_ms, wanted.end_ms))
    records: list[Record] = []
    last, same = "", 0
    for record in islice(_newest(directory, Wanted(kinds=frozenset({DECISION}))), READ):
        at = str(record["time"])
        last, same = at, same + 1 if at == last else 1
        if (end is not None and at > end) or (time and (at > time or (at == time and same <= behind))):
            continue
        if begin is not None and at < begin:
            return Found(records, "", at)
        if wanted.takes(record):
            records.append(record)
        if len(records) == limit:
            return Found(records, f"{at},{same}", at)
    return Found(records, "", last)


def _about(directory: Path, exchange: str) -> Sequence[Record]:
    """All of the log is looked through."""
    return list(_newest(directory, Wanted(exchange=exchange)))[::-1]


def _latest(directory: Path, kind: str, most: int) -> Sequence[Record]:
    """Of as many records as that, decisions among them: a kind that the log does not have must not have all of it read."""
    found = islice(_newest(directory, Wanted(kinds=frozenset({kind, DECISION}))), 2 * most)
    return [record for record in found if record["kind"] == kind][:most]


class AuditDirectory(LogOnDisk[Path]):
    """path: what the policy says under `audit`, as it is on this machine."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, nullcontext, Readings(_search, _about, _latest))
