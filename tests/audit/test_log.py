"""The log of a worker: what waits, what is refused, what is dropped and counted, and what is on disk when it is closed."""

import asyncio
import contextlib
import errno
import os
import resource
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from headrace.ext_proc.audit import log as logging_module
from headrace.ext_proc.audit.chain import Chain
from headrace.ext_proc.audit.errors import AuditError, AuditUnavailable
from headrace.ext_proc.audit.home import Home
from headrace.ext_proc.audit.log import AuditLog
from headrace.ext_proc.audit.reading import Wanted, entries, latest
from headrace.ext_proc.audit.removal import used_bytes
from headrace.ext_proc.audit.verifying import problems_of, verified
from tests.audit.logs import Ticking, decision, terms_at
from tests.audit.meters import Counts
from tests.service.waiting import until

DECISIONS = Wanted(kinds=frozenset({"decision"}))


class Disk:
    """fdatasync as a disk does it that may be full. synced: how often. syncing: called on the event loop meanwhile, once."""

    def __init__(self) -> None:
        self.full = False
        self.synced = 0
        self.syncing: Callable[[], object] | None = None
        self._loop = asyncio.get_running_loop()

    def __call__(self, file: int) -> None:
        if self.full:
            raise OSError(errno.ENOSPC, "No space left on device")
        if self.syncing is not None:
            self._loop.call_soon_threadsafe(self.syncing)
            self.syncing = None
        os.fdatasync(file)
        self.synced += 1


class Site:
    """A log over a disk."""

    def __init__(self, directory: Path, **settings: object) -> None:
        self.directory, self.clock, self.disk, self.counts = directory, Ticking(), Disk(), Counts()
        self.chain = Chain(terms_at(directory, **settings), "0", self.clock.now_ms, self.disk)
        self.log = AuditLog(self.chain, self.clock.now_ms, self.counts)

    def kinds(self) -> list[str]:
        return [entry.line.kind for entry in entries(self.directory)]


async def test_what_is_committed_is_on_disk(tmp_path: Path) -> None:
    site = Site(tmp_path)
    await site.log.commit("decision", decision(1))
    assert [entry.exchange for entry in latest(tmp_path, DECISIONS, 5)] == [decision(1)["exchange"]]
    await site.log.close()
    assert site.kinds() == ["decision", "closed"]
    assert problems_of(verified(tmp_path)) == []


async def test_records_that_come_together_go_out_together(tmp_path: Path) -> None:
    site = Site(tmp_path)
    await asyncio.gather(*(site.log.commit("decision", decision(number)) for number in range(100)))
    assert site.disk.synced < 10
    await site.log.close()
    assert site.counts.records == 100


async def test_what_nobody_waits_for_is_written_before_the_log_is_closed(tmp_path: Path) -> None:
    site = Site(tmp_path, on_full="drop-and-count")
    for number in range(20):
        site.log.write("decision", decision(number))
    await site.log.close()
    assert site.kinds() == ["decision"] * 20 + ["closed"]


async def test_what_nobody_waits_for_is_written_by_itself_soon(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.log.write("settlement", decision(1))
    await until(lambda: site.kinds() == ["settlement"], "it is on disk")
    await site.log.close()


async def test_a_full_disk_refuses_in_time_and_says_later_how_many(tmp_path: Path) -> None:
    site = Site(tmp_path, wait_ms=20)
    site.disk.full = True
    for number in range(3):
        with pytest.raises(AuditUnavailable):
            await site.log.commit("decision", decision(number))
    assert (site.counts.lost, site.counts.failures > 0) == (3, True)
    site.disk.full = False
    await until(lambda: written(site), "the disk takes records again")
    assert site.log.depth == 0
    await site.log.close()
    told = [entry.line.record for entry in entries(tmp_path, Wanted(kinds=frozenset({"dropped"})))]
    assert sum(record["records"] for record in told) >= 3
    assert problems_of(verified(tmp_path)) == []


async def written(site: Site) -> bool:
    try:
        await site.log.commit("decision", decision(9))
    except AuditUnavailable:
        return False
    return True


async def test_a_batch_that_the_disk_did_not_take_leaves_no_trace_in_the_file(tmp_path: Path) -> None:
    site = Site(tmp_path, on_full="drop-and-count")
    path = Home(tmp_path).segments(site.chain.name)[0]
    before = path.read_bytes()
    site.disk.full = True
    site.log.write("decision", decision(1))
    await until(lambda: site.counts.lost == 1, "it is dropped")
    assert path.read_bytes() == before
    site.disk.full = False
    site.log.write("decision", decision(2))
    await site.log.close()
    assert site.kinds() == ["dropped", "decision", "closed"]
    assert problems_of(verified(tmp_path)) == []


async def test_a_queue_that_is_full_drops_and_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging_module, "WAITING", 2)
    site = Site(tmp_path, on_full="drop-and-count")
    for number in range(5):
        site.log.write("decision", decision(number))
    assert site.counts.lost == 3
    with pytest.raises(AuditUnavailable):
        await site.log.commit("decision", decision(5))
    await site.log.close()
    assert site.kinds() == ["dropped", "decision", "decision", "closed"]


async def test_a_waiter_who_leaves_takes_the_record_back(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.disk.full = True
    waiting = asyncio.create_task(site.log.commit("decision", decision(1)))
    await until(lambda: site.counts.failures > 0, "the disk was tried")
    waiting.cancel()
    failures = site.counts.failures
    await until(lambda: site.counts.failures > failures, "the last try that it may have been part of")
    site.disk.full = False
    await until(lambda: written(site), "the next one is on disk")
    await site.log.close()
    assert {entry.exchange for entry in entries(tmp_path, DECISIONS)} == {decision(9)["exchange"]}


async def test_nothing_is_taken_after_the_end(tmp_path: Path) -> None:
    site = Site(tmp_path)
    await site.log.close()
    with pytest.raises(AuditUnavailable):
        await site.log.commit("decision", decision(1))
    assert site.counts.lost == 1


async def test_the_space_of_the_policy_is_the_most_that_is_written(tmp_path: Path) -> None:
    site = Site(tmp_path, bodies="encrypted", segment_mb=1, max_disk_mb=2, wait_ms=2000)
    with pytest.raises(AuditUnavailable):
        for number in range(100):
            await site.log.commit("decision", decision(number), {"request": b"x" * 100_000})
    assert 1_000_000 < used_bytes(Home(tmp_path)) <= 2_000_000
    await site.log.close()
    assert len(Home(tmp_path).segments(site.chain.name)) == 2
    assert problems_of(verified(tmp_path)) == []


async def test_a_process_without_descriptors_goes_on_recording(tmp_path: Path) -> None:
    site = Site(tmp_path, bodies="encrypted", segment_mb=1, max_disk_mb=100, wait_ms=2000)
    await site.log.commit("decision", decision(0), {"request": b"x" * 400_000})
    with descriptors_used_up():
        for number in range(1, 8):  # past a look at what the files take, and past the segment's size
            await site.log.commit("decision", decision(number), {"request": b"x" * 400_000})
    await site.log.commit("decision", decision(8))
    assert len(Home(tmp_path).segments(site.chain.name)) == 2
    await site.log.close()
    assert len(latest(tmp_path, DECISIONS, 20)) == 9
    assert problems_of(verified(tmp_path)) == []


@contextlib.contextmanager
def descriptors_used_up() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        with pytest.raises(OSError, match="Too many open files"):
            os.open("/", os.O_RDONLY)
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_directory_that_cannot_be_written_is_said_at_once(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(AuditError, match="cannot be made"):
        Chain(terms_at(tmp_path / "log"), "0", Ticking().now_ms)


def test_a_file_in_the_directory_s_place_is_said_at_once(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("")
    with pytest.raises(AuditError, match="cannot be made: File exists"):
        Chain(terms_at(tmp_path / "log"), "0", Ticking().now_ms)


@pytest.mark.usefixtures("careless")
def test_nobody_else_may_read_any_of_it(tmp_path: Path) -> None:
    chain = Chain(terms_at(tmp_path / "log", bodies="encrypted"), "0", Ticking().now_ms)
    chain.close()
    open_to: Callable[[Path], int] = lambda path: path.stat().st_mode & 0o077  # noqa: E731
    assert [path for path in (tmp_path / "log", *(tmp_path / "log").rglob("*")) if open_to(path)] == []
