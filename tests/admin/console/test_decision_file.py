"""The decision log read from its end: found, paged, and jumped into, however its blocks fall."""

import json
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from headrace.ext_proc.admin.console import decision_file
from headrace.ext_proc.admin.console.decision_file import DecisionFile, backwards
from headrace.ext_proc.admin.console.log import LogUnreadable, Search
from tests.admin.console.conftest import decision

TEXTS = (b"", b"\n", b"a\n", b"a\nbb\n\nccc\n", b"a\nbb\ncut off", b"no end", b"\n\n\n", b"long" * 100 + b"\nb\n")
BEGIN = datetime(2026, 11, 20, 12, tzinfo=UTC)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "decisions.jsonl"


def write(file: Path, count: int, apart: timedelta = timedelta(seconds=10)) -> None:
    records = [decision(f"hx{number}", time=(BEGIN + number * apart).isoformat()) for number in range(count)]
    file.write_text("".join(json.dumps(record, separators=(",", ":")) + "\n" for record in records))


def ms(after: timedelta) -> int:
    return int((BEGIN + after).timestamp() * 1000)


@pytest.mark.parametrize("block", [1, 2, 3, 7, 64, 1 << 18])
@pytest.mark.parametrize(
    "text", [b"", b"\n", b"a\n", b"a\nbb\n\nccc\n", b"a\nbb\ncut off", b"no end", b"\n\n\n", b"long" * 100 + b"\nb\n"]
)
def test_lines_come_back_to_front_with_their_places(file: Path, text: bytes, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decision_file, "BLOCK", block)
    file.write_bytes(text)
    whole = [line for line in text.splitlines(keepends=True) if line.endswith(b"\n")]
    with file.open("rb") as opened:
        found = list(backwards(opened, len(text)))
    assert [line for _, line in found] == whole[::-1]
    assert all(text[at : at + len(line)] == line for at, line in found)


async def test_pages_follow_each_other_though_the_log_grows(file: Path) -> None:
    write(file, 25)
    found, after = [], ""
    while True:
        page = await DecisionFile(file).search(Search(), after, 10)
        found += [record["exchange"] for record in page.records]
        with file.open("a") as growing:
            growing.write(json.dumps(decision("later"), separators=(",", ":")) + "\n")
        if not (after := page.next):
            break
    assert found == [f"hx{number}" for number in range(24, -1, -1)]


def moved_away(file: Path) -> None:
    file.rename(file.with_suffix(".old"))


async def test_a_page_of_a_log_that_was_moved_away_begins_anew(file: Path) -> None:
    write(file, 25)
    page = await DecisionFile(file).search(Search(), "", 10)
    moved_away(file)
    write(file, 3)
    again = await DecisionFile(file).search(Search(), page.next, 10)
    assert [record["exchange"] for record in again.records] == ["hx2", "hx1", "hx0"]


async def test_a_time_is_jumped_to_and_the_rest_is_not_read(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decision_file, "BLOCK", 4096)
    monkeypatch.setattr(decision_file, "LINE", 4096)
    monkeypatch.setattr(decision_file, "SEARCHED", 32_768)  # some 70 of the 2,000 records
    write(file, 2000)
    wanted = Search(start_ms=ms(timedelta(seconds=5000)), end_ms=ms(timedelta(seconds=5100)))
    page = await DecisionFile(file).search(wanted, "", 50)
    assert [record["exchange"] for record in page.records] == [f"hx{number}" for number in range(510, 499, -1)]
    assert page.next == ""


async def test_a_search_that_finds_nothing_says_how_far_it_went(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decision_file, "SEARCHED", 4096)
    write(file, 100)
    source, after, back = DecisionFile(file), "", []
    while True:
        page = await source.search(Search(model="other"), after, 10)
        assert not page.records
        back.append(page.back_to)
        if not (after := page.next):
            break
    assert len(back) > 5
    assert all(later > earlier for later, earlier in pairwise(back))


async def test_everything_about_one_exchange_is_found_in_its_order(file: Path) -> None:
    write(file, 5)
    more = [{"kind": kind, "exchange": "hx3", "time": "2026-11-20T13:00:00+00:00"} for kind in ("settlement", "candidate")]
    with file.open("a") as opened:
        opened.writelines(json.dumps(record) + "\n" for record in more)
    found = await DecisionFile(file).about("hx3")
    assert [record["kind"] for record in found] == ["decision", "settlement", "candidate"]
    assert await DecisionFile(file).about("hx") == []


@pytest.mark.parametrize("line", ["", "{", "[]", "null", '{"kind":"decision","steps":3}', '{"kind":"decision","time":4}', "\ud800"])
async def test_lines_that_are_no_records_are_passed_over(file: Path, line: str) -> None:
    write(file, 2)
    with file.open("ab") as opened:
        opened.write(line.encode("utf-8", "surrogatepass") + b"\n")
    page = await DecisionFile(file).search(Search(who="ann"), "", 10)
    assert [record["exchange"] for record in page.records] == ["hx1", "hx0"]


async def test_a_log_that_is_not_there_says_so(file: Path) -> None:
    with pytest.raises(LogUnreadable, match="no such file"):
        await DecisionFile(file).search(Search(), "", 10)
