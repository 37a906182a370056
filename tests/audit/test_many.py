"""A million records: written, verified, and each of fifty tamperings found among them. Once, under HEADRACE_LONG=1."""

import os
from pathlib import Path
from random import Random
from shutil import copy2, copytree
from time import process_time

import pytest

from headrace.ext_proc.audit.chain import Chain
from headrace.ext_proc.audit.verifying import problems_of, verified
from tests.audit.logs import Ticking, pending, terms_at
from tests.audit.tampering import WAYS

RECORDS, EACH, TAMPERINGS = 1_000_000, 250, 50

pytestmark = pytest.mark.skipif(os.environ.get("HEADRACE_LONG") != "1", reason="takes half an hour; HEADRACE_LONG=1 runs it")


@pytest.mark.timeout(7200)
def test_a_million_records_are_verified_and_every_tampering_is_found(tmp_path: Path) -> None:
    directory, kept = tmp_path / "log", tmp_path / "kept"
    clock, started = Ticking(), process_time()
    chain = Chain(terms_at(directory, max_disk_mb=100_000), "0", clock.now_ms)
    for first in range(0, RECORDS, EACH):
        chain.write([pending(number, clock) for number in range(first, first + EACH)])
    chain.close()
    write_s, started = process_time() - started, process_time()
    found = verified(directory)
    verify_s = process_time() - started
    assert problems_of(found) == []
    assert found.records == RECORDS + 1
    size = sum(path.stat().st_size for path in directory.rglob("*.jsonl"))
    print(f"{RECORDS:,} records, {size / 1e6:.0f} MB, {found.segments} segments; CPU: {write_s:.0f} s and {verify_s:.0f} s")
    copytree(directory, kept)
    for seed in range(TAMPERINGS):
        done = WAYS[seed % len(WAYS)](directory, Random(seed))
        changed = restore(directory, kept, look=True)
        assert not changed or verified(directory).problems, done
        restore(directory, kept)
    print(f"{TAMPERINGS} tamperings found")


def restore(directory: Path, kept: Path, *, look: bool = False) -> bool:
    """Whether files differ from what was kept; brings them back unless it is to look only."""
    differ = [path for path in kept.rglob("*.jsonl") if not same(path, directory / path.relative_to(kept))]
    for path in () if look else differ:
        copy2(path, directory / path.relative_to(kept))
    return bool(differ)


def same(one: Path, other: Path) -> bool:
    return other.exists() and one.stat().st_size == other.stat().st_size and one.read_bytes() == other.read_bytes()
