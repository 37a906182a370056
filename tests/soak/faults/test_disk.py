"""A real tmpfs."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.soak.faults.disk import NEEDS_ROOT, SmallDisk, may_mount

pytestmark = pytest.mark.skipif(not may_mount(), reason=NEEDS_ROOT)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    disk = SmallDisk(tmp_path / "disk")
    disk.mount()
    yield disk
    disk.unmount()


@pytest.mark.parametrize("before", [0, 1, 100_000])
def test_a_full_disk_takes_nothing_and_afterwards_it_does(disk: SmallDisk, before: int) -> None:
    log = disk.folder / "log"
    log.write_bytes(bytes(before))
    with disk.full(), pytest.raises(OSError, match="No space left"), log.open("ab") as file:
        file.write(bytes(8192))
    with log.open("ab") as file:
        file.write(b"after")
    assert log.read_bytes()[-5:] == b"after"
