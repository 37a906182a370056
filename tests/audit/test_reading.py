"""Records in their order and against it, over several chains, while they are written."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.ext_proc.audit import tail
from headrace.ext_proc.audit.home import Home
from headrace.ext_proc.audit.lines import decoded, instant, spelled
from headrace.ext_proc.audit.reading import Wanted, entries, latest, of_exchange
from headrace.ext_proc.audit.tail import reversed_lines
from tests.audit.logs import START_MS, decision, written


@given(lines=st.lists(st.binary(max_size=40).map(lambda line: line.replace(b"\n", b"")), max_size=30), rest=st.binary(max_size=9))
@pytest.mark.parametrize("block", [1, 7, 4096])
def test_lines_come_from_the_last_one_back_without_what_is_torn(
    block: int, lines: list[bytes], rest: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / f"lines{block}"
    path.write_bytes(b"".join(line + b"\n" for line in lines) + rest.replace(b"\n", b""))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tail, "BLOCK", block)
        assert list(reversed_lines(path)) == lines[::-1]


def test_several_chains_are_read_as_one(tmp_path: Path) -> None:
    for worker in "012":
        written(tmp_path, 10, worker=worker)
    forth = [entry.line.time for entry in entries(tmp_path)]
    back = [entry.line.time for entry in entries(tmp_path, newest_first=True)]
    assert len(forth) == 33
    assert forth == sorted(forth)
    assert back == sorted(back, reverse=True)
    assert [entry.line.time for entry in latest(tmp_path, Wanted(), 5)] == back[:5]


def test_records_of_one_exchange_are_found_in_every_chain(tmp_path: Path) -> None:
    written(tmp_path, 10)
    written(tmp_path, 10, worker="1")
    id = decision(4)["exchange"]
    assert [entry.exchange for entry in of_exchange(tmp_path, id)] == [id, id]


@pytest.mark.parametrize(
    ("wanted", "count"),
    [
        (Wanted(principal={"team": "blue", "user": "user1"}), 3),
        (Wanted(principal={"team": "red"}), 0),
        (Wanted(outcome="handed_off"), 10),
        (Wanted(outcome="refused"), 0),
        (Wanted(start_ms=START_MS + 3_600_000), 0),
        (Wanted(end_ms=START_MS), 0),
        (Wanted(start_ms=START_MS, end_ms=START_MS + 3_600_000), 11),
        (Wanted(kinds=frozenset({"decision"})), 10),
    ],
)
def test_all_that_is_asked_for_must_hold(wanted: Wanted, count: int, tmp_path: Path) -> None:
    written(tmp_path, 10)
    assert len(list(entries(tmp_path, wanted))) == count


def test_a_log_that_is_written_is_read_up_to_its_last_whole_line(tmp_path: Path) -> None:
    chain = written(tmp_path, 4, close=False)
    path = Home(tmp_path).segments(chain.name)[0]
    with path.open("ab") as file:
        file.write(b'{"seq":99')
    assert len(list(entries(tmp_path))) == len(list(entries(tmp_path, newest_first=True))) == 4
    chain.close()


def test_a_directory_without_a_log_has_no_records(tmp_path: Path) -> None:
    assert list(entries(tmp_path / "nowhere")) == []


@given(st.integers(0, 4_000_000_000_000))
def test_spelled_instants_are_read_back_and_sort_as_they_follow(at_ms: int) -> None:
    assert instant(spelled(at_ms)) == at_ms
    assert spelled(at_ms) < spelled(at_ms + 1)


@given(st.binary(max_size=200))
def test_what_is_no_line_is_none(data: bytes) -> None:
    assert decoded(data) is None
