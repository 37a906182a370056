"""The log follows the policy in force: begun, changed, ended with it."""

import errno
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from headrace.ext_proc.audit import chain, worker
from headrace.ext_proc.audit.chain import Chain
from headrace.ext_proc.audit.errors import AuditError
from headrace.ext_proc.audit.reading import entries
from headrace.ext_proc.audit.verifying import problems_of, verified
from headrace.ext_proc.audit.worker import Audits
from headrace.ext_proc.core.effects import Record
from tests.audit.logs import Ticking, terms_at
from tests.audit.meters import Counts
from tests.kit import exchange_of
from tests.service.waiting import until


@pytest.fixture
async def audits() -> AsyncIterator[Audits]:
    one = Audits("0", Ticking(), Counts())
    yield one
    await one.close()


def told(directory: Path, kind: str) -> list[dict[str, Any]]:
    return [entry.line.record for entry in entries(directory) if entry.line.kind == kind]


async def test_without_a_log_nobody_is_watched(audits: Audits, tmp_path: Path) -> None:
    audits.start(None, "r1")
    audits.observe(Record("settlement", {"exchange": "e1"}))
    assert audits.witness(exchange_of()) is None
    assert audits.depth == 0


async def test_settlements_are_recorded_and_decisions_left_to_the_witness(audits: Audits, tmp_path: Path) -> None:
    audits.start(terms_at(tmp_path), "r1")
    for kind in ("settlement", "decision", "budget_warning"):
        audits.observe(Record(kind, {"exchange": "e1"}))
    await audits.close()
    assert [entry.line.kind for entry in entries(tmp_path)] == ["policy", "settlement", "budget_warning", "closed"]


async def test_a_policy_with_the_same_log_goes_on_with_it(audits: Audits, tmp_path: Path) -> None:
    audits.start(terms_at(tmp_path), "r1")
    audits.follow(terms_at(tmp_path), "r2")
    await until(lambda: told(tmp_path, "policy") == [{"revision": "r1"}, {"revision": "r2"}], "both are recorded")
    assert verified(tmp_path).chains == 1


async def test_a_policy_with_another_log_ends_the_first(audits: Audits, tmp_path: Path) -> None:
    audits.start(terms_at(tmp_path / "one"), "r1")
    audits.follow(terms_at(tmp_path / "two"), "r2")
    await until(lambda: told(tmp_path / "two", "policy") == [{"revision": "r2"}], "the other has begun")
    assert (problems_of(verified(tmp_path / "one")), verified(tmp_path / "one").notes) == ([], [])


async def test_a_policy_without_a_log_ends_it(audits: Audits, tmp_path: Path) -> None:
    audits.start(terms_at(tmp_path), "r1")
    audits.follow(None, "r2")
    await until(lambda: told(tmp_path, "closed") == [{}], "it has ended")
    assert audits.witness(exchange_of()) is None


async def test_while_the_other_log_cannot_be_opened_the_first_goes_on(audits: Audits, tmp_path: Path) -> None:
    audits.start(terms_at(tmp_path / "one"), "r1")
    in_the_way(tmp_path / "two")
    audits.follow(terms_at(tmp_path / "two"), "r2")
    audits.observe(Record("settlement", {"exchange": "e1"}))
    await until(lambda: told(tmp_path / "one", "settlement") == [{"exchange": "e1"}], "the first has it")
    (tmp_path / "two").unlink()
    await until(lambda: told(tmp_path / "two", "policy") == [{"revision": "r2"}], "the other has begun")


class FullDisk:
    """In place of a chain, while there is no room for one."""

    def __init__(self, errors: int, code: int = errno.ENOSPC) -> None:
        self.left, self._code = errors, code

    def __call__(self, *arguments: Any) -> Chain:
        if self.left:
            self.left -= 1
            raise OSError(self._code, "no room")
        return Chain(*arguments)


async def test_where_records_may_be_lost_a_full_disk_keeps_no_worker_from_starting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(worker, "AGAIN_S", 0.01)
    monkeypatch.setattr(chain, "Chain", FullDisk(2))
    counts = Counts()
    audits = Audits("0", Ticking(), counts)
    audits.start(terms_at(tmp_path, on_full="drop-and-count"), "r1")
    assert audits.witness(exchange_of()) is None
    for kind in ("settlement", "decision"):
        audits.observe(Record(kind, {"exchange": "e1"}))
    await until(lambda: told(tmp_path, "policy") == [{"revision": "r1"}], "the log has begun")
    assert audits.witness(exchange_of()) is not None
    await audits.close()
    assert (counts.lost, told(tmp_path, "dropped")) == (2, [{"records": 2}])
    assert {record.message for record in caplog.records} == {"audit log not opened, records are lost until there is room"}


@pytest.mark.parametrize(("on_full", "code"), [("block", errno.ENOSPC), ("drop-and-count", errno.EACCES)])
async def test_where_none_may_be_lost_or_the_directory_is_not_ours_no_worker_starts(
    audits: Audits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, on_full: str, code: int
) -> None:
    monkeypatch.setattr(chain, "Chain", FullDisk(1, code))
    with pytest.raises(AuditError, match="cannot be written"):
        audits.start(terms_at(tmp_path, on_full=on_full), "r1")


async def test_of_changes_that_come_at_once_the_last_one_holds(audits: Audits, tmp_path: Path) -> None:
    audits.start(terms_at(tmp_path / "0"), "r0")
    for number in range(1, 5):
        audits.follow(terms_at(tmp_path / str(number)), f"r{number}")
    await until(lambda: told(tmp_path / "4", "policy") == [{"revision": "r4"}], "the last has begun")
    await audits.close()
    for number in range(5):
        if (tmp_path / str(number)).exists():
            assert (problems_of(verified(tmp_path / str(number))), verified(tmp_path / str(number)).notes) == ([], [])


async def test_a_service_that_ends_gives_up_a_log_that_cannot_be_opened(audits: Audits, tmp_path: Path) -> None:
    audits.start(terms_at(tmp_path / "one"), "r1")
    in_the_way(tmp_path / "two")
    audits.follow(terms_at(tmp_path / "two"), "r2")
    await audits.close()
    assert told(tmp_path / "one", "closed") == [{}]


def in_the_way(path: Path) -> None:
    path.write_text("")


async def test_a_service_does_not_start_without_its_log(audits: Audits, tmp_path: Path) -> None:
    in_the_way(tmp_path / "log")
    with pytest.raises(AuditError, match="File exists"):
        audits.start(terms_at(tmp_path / "log"), "r1")
