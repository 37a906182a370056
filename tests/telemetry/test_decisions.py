"""The decision log: whole lines, in order, without waiting; lost records are counted."""

import asyncio
import errno
import json
import os
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from headrace.ext_proc.core.effects import Record
from headrace.ext_proc.telemetry import decisions
from headrace.ext_proc.telemetry.decisions import DecisionLog, DecisionLogError
from tests.telemetry.records import FixedClock, decision, settlement


class Lost:
    """Counts records that were dropped."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> None:
        self.count += 1


@pytest.fixture
def lost() -> Lost:
    return Lost()


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


async def test_records_become_json_lines_in_order(tmp_path: Path, lost: Lost) -> None:
    path = tmp_path / "decisions.jsonl"
    written = DecisionLog(str(path), FixedClock(), lost)
    written.write(decision())
    written.write(settlement())
    await written.close()
    first, second = lines(path)
    assert (first["kind"], second["kind"]) == ("decision", "settlement")
    assert first["time"] == "2023-11-14T22:13:30.000+00:00"
    assert second["usage"]["input_tokens"] == 100
    assert lost.count == 0


@pytest.mark.usefixtures("careless")
async def test_the_file_is_for_its_owner_alone(tmp_path: Path, lost: Lost) -> None:
    path = tmp_path / "decisions.jsonl"
    await DecisionLog(str(path), FixedClock(), lost).close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


async def test_several_workers_share_one_file(tmp_path: Path, lost: Lost) -> None:
    path = tmp_path / "decisions.jsonl"
    logs = [DecisionLog(str(path), FixedClock(), lost) for _ in range(3)]
    for number in range(600):
        logs[number % 3].write(decision(exchange=f"hx{number}"))
    await asyncio.gather(*(written.close() for written in logs))
    assert {line["exchange"] for line in lines(path)} == {f"hx{number}" for number in range(600)}


async def test_reopening_goes_on_in_a_new_file(tmp_path: Path, lost: Lost) -> None:
    path, moved = tmp_path / "decisions.jsonl", tmp_path / "decisions.jsonl.1"
    written = DecisionLog(str(path), FixedClock(), lost)
    path.rename(moved)
    written.reopen()
    written.write(decision(exchange="after"))
    await written.close()
    assert moved.read_text() == ""
    assert [line["exchange"] for line in lines(path)] == ["after"]


async def test_a_file_that_cannot_be_reopened_leaves_the_old_one(tmp_path: Path, lost: Lost) -> None:
    folder = tmp_path / "logs"
    folder.mkdir()
    written = DecisionLog(str(folder / "decisions.jsonl"), FixedClock(), lost)
    moved = folder.rename(tmp_path / "moved")
    written.reopen()
    written.write(decision())
    await written.close()
    assert len(lines(moved / "decisions.jsonl")) == 1


async def test_a_log_that_falls_behind_loses_records_and_counts_them(
    tmp_path: Path, lost: Lost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decisions, "WAITING", 10)
    path = tmp_path / "decisions.jsonl"
    written = DecisionLog(str(path), FixedClock(), lost)
    for _ in range(15):
        written.write(decision())
    await written.close()
    assert (len(lines(path)), lost.count) == (10, 5)


async def test_a_full_disk_loses_records_and_counts_them(lost: Lost) -> None:
    written = DecisionLog("/dev/full", FixedClock(), lost)
    for _ in range(4):
        written.write(decision())
    await written.close()
    assert lost.count == 4


async def test_a_line_that_a_full_disk_cut_takes_no_other_with_it(
    tmp_path: Path, lost: Lost, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, room, real = tmp_path / "decisions.jsonl", [100], os.write

    def write(file: int, data: bytes) -> int:
        """As a disk with so much room."""
        if not room:
            return real(file, data)
        if left := room[0]:
            room[0] = 0
            return real(file, data[:left])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", write)
    written = DecisionLog(str(path), FixedClock(), lost)
    for exchange in ("cut", "lost"):
        written.write(decision(exchange=exchange))
        await written_out(written)
    room.clear()
    for exchange in ("first", "second"):
        written.write(decision(exchange=exchange))
        await written_out(written)
    await written.close()
    cut, *whole = path.read_text().splitlines()
    assert len(cut) == 100
    assert [json.loads(line)["exchange"] for line in whole] == ["first", "second"]
    assert lost.count == 2


async def written_out(log: DecisionLog) -> None:
    """Returns when what waits was tried."""
    log._flush()
    assert log._writing is not None
    await asyncio.wait([log._writing])


def test_a_file_that_cannot_be_opened_is_said_at_once(tmp_path: Path, lost: Lost) -> None:
    with pytest.raises(DecisionLogError, match="No such file or directory"):
        DecisionLog(str(tmp_path / "none" / "x"), FixedClock(), lost)


@pytest.fixture
def pipe(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """Standard output as a pipe; gives the reading end."""
    reading, writing = os.pipe()
    real = os.dup
    monkeypatch.setattr(os, "dup", lambda number: real(writing) if number == 1 else real(number))
    yield reading
    os.close(writing)
    os.close(reading)


async def test_standard_output_gets_whole_lines_in_pieces_a_pipe_takes_at_once(pipe: int, lost: Lost) -> None:
    written = DecisionLog("-", FixedClock(), lost)
    received = bytearray()

    def read() -> None:
        while received.count(b"\n") < 200:
            received.extend(os.read(pipe, 65_536))

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(200):
        written.write(decision(exchange=f"hx{number}"))
    await written.close()
    await asyncio.to_thread(reader.join)
    assert [json.loads(line)["exchange"] for line in received.splitlines()] == [f"hx{number}" for number in range(200)]


def test_pieces_are_whole_lines_of_at_most_the_size() -> None:
    given = [b"a" * 30 + b"\n", b"b" * 30 + b"\n", b"c" * 90 + b"\n", b"d\n"]
    pieces = list(decisions._pieces(iter(given), 64))
    assert pieces == [given[0] + given[1], given[2], given[3]]


async def test_values_that_are_no_json_are_written_as_words(tmp_path: Path, lost: Lost) -> None:
    path = tmp_path / "decisions.jsonl"
    written = DecisionLog(str(path), FixedClock(), lost)
    written.write(Record("decision", {"exchange": "hx1", "odd": 1 + 2j}))
    await written.close()
    assert lines(path)[0]["odd"] == "(1+2j)"
