"""The lock holds what is needed and nothing else, as it was looked at; every direct dependency has one job, and a word why."""

from collections import Counter
from importlib import metadata

import pytest

from tests.dependencies.licences import objection
from tests.dependencies.lock import OURSELVES, direct, lock, locked, reasons

LOCK = lock()


def test_everything_is_pinned_and_hashed() -> None:
    assert len(LOCK) > 100
    assert [one.name for one in LOCK if not one.version.startswith("==") or "*" in one.version] == []
    assert [one.name for one in LOCK if not one.hashes] == []


def test_the_reading_sees_what_is_missing() -> None:
    hash = f"--hash=sha256:{'0' * 64}"
    found = locked(
        f"# comment\na==1.0 \\\n    {hash}\n    # via headrace (pyproject.toml)\nB_c>=2 ; x < 'y'\n    # via\n    #   a\n    #   d"
    )
    assert [(one.name, one.version, one.hashes, one.via) for one in found] == [
        ("a", "==1.0", 1, frozenset({"headrace"})),
        ("b-c", ">=2", 0, frozenset({"a", "d"})),
    ]


def test_nothing_is_locked_that_nothing_requires() -> None:
    """Every entry is reached from ours."""
    reached, more = {OURSELVES}, True
    while more:
        new = {one.name for one in LOCK if one.via & reached} - reached
        reached |= new
        more = bool(new)
    assert {one.name for one in LOCK} - reached == set()
    assert {one.name for one in LOCK if OURSELVES in one.via} == set(direct())


def test_what_is_installed_is_what_is_locked() -> None:
    versions: dict[str, set[str]] = {}
    for one in LOCK:
        versions.setdefault(one.name, set()).add(one.version.removeprefix("=="))
    for name in versions:
        try:
            assert metadata.version(name) in versions[name], name
        except metadata.PackageNotFoundError:
            assert name not in direct(), name


def test_every_direct_dependency_has_a_reason_and_a_job_of_its_own() -> None:
    told = list(reasons())
    assert Counter(package for _, package in told) == Counter(direct())
    assert [job for job, times in Counter(job for job, _ in told).items() if times > 1] == []


@pytest.mark.parametrize("name", sorted({one.name for one in LOCK}))
def test_the_licence_is_one_of_the_list(name: str) -> None:
    assert objection(name) == ""
