"""The decision log's file as a source: read from its end, block by block, by whoever wrote it.

Lines of several workers lie within FLUSH_S of the order of their times, so that a search for a time may jump there.
"""

import json
import os
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import BinaryIO

import msgspec

from headrace.ext_proc.admin.console.log import Found, Record, Search
from headrace.ext_proc.admin.console.log_on_disk import LogOnDisk, Readings
from headrace.ext_proc.core.json_body import NO_JSON

BLOCK = 1 << 18
SEARCHED = 1 << 26
"""Bytes that one search reads, some 60,000 decisions in half a second; the next page goes on from there."""
LOOKED_THROUGH = 1 << 28
"""Bytes, for one exchange: a line is only looked at for its id."""
BEHIND = 1 << 20
"""Bytes before a decision in which something else about its exchange may stand."""
SLACK_MS = 60_000
"""Between the times of lines that stand in the wrong order; much more than a worker waits before it writes."""
LINE = 1 << 20
"""Bytes; a longer line is none of ours."""


def backwards(file: BinaryIO, end: int) -> Iterator[tuple[int, bytes]]:
    """Whole lines that end before offset `end`, the last first, with the offset where each begins. A line that is not finished
    yet, and one that is too long, are passed over.
    """
    rest = b""
    while end > 0:
        begin = max(0, end - BLOCK)
        file.seek(begin)
        block = file.read(end - begin) + rest
        first = block.find(b"\n") + 1 if begin else 0
        if begin and (not first or first == len(block)):
            rest, end = block if len(block) <= LINE else b"", begin
            continue
        at = begin + len(block)
        for line in reversed(block[first:].splitlines(keepends=True)):
            at -= len(line)
            if line.endswith(b"\n"):
                yield at, line
        rest, end = block[:first], begin


def _search(file: BinaryIO, wanted: Search, after: str, limit: int) -> Found:
    inode, size = os.fstat(file.fileno()).st_ino, os.fstat(file.fileno()).st_size
    end = _end(file, wanted, size)
    known, _, offset = after.partition("-")
    begun = min(int(offset), end) if known == str(inode) and offset.isdecimal() else end
    records: list[Record] = []
    at, back_to = begun, ""
    for at, record in _of_kind(file, begun, b"decision"):  # where the page ends
        if record is not None:
            back_to = record.get("time", "")
            if wanted.start_ms is not None and time_ms(record) < wanted.start_ms - SLACK_MS:
                return Found(records, "", back_to)
            if _is_of_time(record, wanted) and wanted.takes(record):
                records.append(record)
        if len(records) == limit or begun - at > SEARCHED:
            return Found(records, f"{inode}-{at}" if at else "", back_to)
    return Found(records, "", back_to)


def _is_of_time(record: Record, wanted: Search) -> bool:
    at = time_ms(record)
    return (wanted.start_ms is None or wanted.start_ms <= at) and (wanted.end_ms is None or at <= wanted.end_ms)


def time_ms(record: Record) -> int:
    """0 for a time that is none."""
    try:
        return int(datetime.fromisoformat(record["time"]).timestamp() * 1000)
    except (KeyError, TypeError, ValueError):
        return 0


def _end(file: BinaryIO, wanted: Search, size: int) -> int:
    """An offset behind everything that may be meant."""
    if wanted.end_ms is None:
        return size
    late = wanted.end_ms + SLACK_MS
    block = bisect_left(range(0, size, BLOCK), True, key=lambda offset: _time_after(file, offset) > late)
    return min(size, block * BLOCK + LINE)


def _time_after(file: BinaryIO, offset: int) -> int:
    """Of the first whole line after the offset; 0 where there is none."""
    file.seek(offset)
    if offset:
        file.readline(LINE)
    record = _parsed(file.readline(LINE))
    return time_ms(record) if record is not None else 0


def _about(file: BinaryIO, exchange: str) -> Sequence[Record]:
    found: list[Record] = []
    size = stop = os.fstat(file.fileno()).st_size
    stop = max(0, size - LOOKED_THROUGH)
    needle = json.dumps(exchange, ensure_ascii=False).encode("utf-8", "replace")
    for at, line in backwards(file, size):
        if at < stop:
            break
        if needle in line and (record := _parsed(line)) is not None and record.get("exchange") == exchange:
            found.append(record)
            if record.get("kind") == "decision":
                stop = max(stop, at - BEHIND)
    return found[::-1]


def _latest(file: BinaryIO, kind: str, most: int) -> Sequence[Record]:
    size = os.fstat(file.fileno()).st_size
    lines = _of_kind(file, size, kind.encode())
    return list(islice((record for at, record in lines if record is not None and size - at <= SEARCHED), most))


def _of_kind(file: BinaryIO, end: int, kind: bytes) -> Iterator[tuple[int, Record | None]]:
    """Every line by its offset; None for one of another kind. Ends after SEARCHED bytes and a line."""
    mark = b'"kind":"%b"' % kind
    for at, line in backwards(file, end):
        yield at, _parsed(line) if mark in line[:200] else None
        if end - at > SEARCHED:
            return


def _parsed(line: bytes) -> Record | None:
    """None for what is no record: cut off, or somebody else's."""
    try:
        record = msgspec.json.decode(line)
    except NO_JSON:
        return None
    return record if isinstance(record, dict) and isinstance(record.get("steps", []), list) else None


def _opened(path: Path) -> BinaryIO:
    return path.open("rb")


class DecisionFile(LogOnDisk[BinaryIO]):
    """path: what `--decisions` says."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, _opened, Readings(_search, _about, _latest))
