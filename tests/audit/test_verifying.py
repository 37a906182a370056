"""Anything that is not as it was written is found; what was written is not complained of."""

import os
from pathlib import Path
from random import Random
from shutil import copytree, rmtree

import pytest

from headrace.ext_proc.audit.home import Home
from headrace.ext_proc.audit.manifest import Manifest
from headrace.ext_proc.audit.removal import remove_before
from headrace.ext_proc.audit.signing import PRIVATE, PUBLIC, PublicKey, load_signer
from headrace.ext_proc.audit.verifying import Verified, problems_of, verified
from tests.audit.logs import START_MS, Ticking, terms_at, written
from tests.audit.tampering import WAYS, Tamper
from tests.audit.tampering import remove_a_line as remove

CASES = 50 if os.environ.get("HEADRACE_LONG") == "1" else 8


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three chains that have ended, one of several segments; another team's bodies in each."""
    directory = tmp_path_factory.mktemp("audit") / "log"
    for worker in "012":
        chain = written(directory, 30, worker=worker, close=False, bodies="encrypted")
        if worker == "1":
            chain.seal()
        chain.close()
    return directory


def contents(directory: Path) -> dict[str, bytes]:
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*.jsonl")}


def look(directory: Path) -> Verified:
    return verified(directory)


def test_what_was_written_is_in_order(whole: Path) -> None:
    found = look(whole)
    assert problems_of(found) == []
    assert found.notes == []
    assert (found.chains, found.segments) == (3, 4)


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_each_way_of_tampering_is_found(way: Tamper, whole: Path, tmp_path: Path) -> None:
    for seed in range(CASES):
        copy = tmp_path / "copy"
        copytree(whole, copy)
        done = way(copy, Random(seed))
        unchanged = contents(copy) == contents(whole)
        assert unchanged or look(copy).problems, f"seed {seed}: {done}"
        rmtree(copy)


def test_a_chain_signed_with_another_key_is_found(whole: Path, tmp_path: Path) -> None:
    """Somebody writes the whole directory anew; it agrees with itself, and not with the public key kept elsewhere."""
    written(tmp_path / "forged", 10)
    assert look(tmp_path / "forged").problems == []
    key = PublicKey.read(whole / "keys" / PUBLIC)
    assert any("was signed with the key" in line for line in problems_of(verified(tmp_path / "forged", key)))


def test_the_public_key_alone_is_enough(whole: Path, tmp_path: Path) -> None:
    copytree(whole, tmp_path / "copy")
    (tmp_path / "copy" / "keys" / PRIVATE).unlink()
    key = tmp_path / "key.pem"
    (tmp_path / "copy" / "keys" / PUBLIC).rename(key)
    assert verified(tmp_path / "copy", PublicKey.read(key)).problems == []


def test_an_end_that_was_cut_off_is_found_by_heads_that_were_kept(tmp_path: Path) -> None:
    """A chain that is being written has no end in the manifest: cut at a checkpoint it looks whole."""
    chain = written(tmp_path, 9, close=False)
    heads = look(tmp_path).heads
    path = Home(tmp_path).segments(chain.name)[0]
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-4]))
    assert look(tmp_path).problems == []
    assert any("which was there before" in line for line in problems_of(verified(tmp_path, heads=heads)))


def test_a_chain_that_starts_keeps_the_heads_of_those_that_are_written(tmp_path: Path) -> None:
    first = written(tmp_path, 9, close=False)
    second = written(tmp_path, 3, worker="1", close=False)
    path = Home(tmp_path).segments(first.name)[0]
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-4]))
    assert any("which was there before" in line for line in problems_of(look(tmp_path)))
    del second


def test_a_chain_without_its_directory_is_found(whole: Path, tmp_path: Path) -> None:
    copytree(whole, tmp_path / "copy")
    home = Home(tmp_path / "copy")
    rmtree(home.chain(home.names()[1]))
    assert any("is gone" in line for line in problems_of(look(home.path)))


def test_segments_that_are_too_old_are_removed_and_missed_by_nobody(tmp_path: Path) -> None:
    chain = written(tmp_path, 9, close=False)
    chain.seal()
    chain.close()
    home = Home(tmp_path)
    manifest = Manifest(home, load_signer(home.keys), Ticking().now_ms)
    assert remove_before(home, manifest, START_MS) == 0
    assert remove_before(home, manifest, START_MS + 3_600_000) == 2
    assert list(home.chains.iterdir()) == []
    found = look(tmp_path)
    assert (problems_of(found), found.segments) == ([], 0)


def test_the_first_segments_of_a_chain_may_be_removed(tmp_path: Path) -> None:
    chain = written(tmp_path, 9, close=False)
    chain.seal()
    home = Home(tmp_path)
    manifest = Manifest(home, load_signer(home.keys), Ticking().now_ms)
    assert remove_before(home, manifest, START_MS + 3_600_000) == 1
    chain.close()
    assert problems_of(look(tmp_path)) == []
    remove(tmp_path, Random(1))
    assert problems_of(look(tmp_path)) != []


def test_what_a_directory_has_that_nobody_opened_is_found(whole: Path, tmp_path: Path) -> None:
    copytree(whole, tmp_path / "copy")
    home = Home(tmp_path / "copy")
    copytree(home.chain(home.names()[0]), home.chain("20261101T120000Z-9-00000000"))
    assert any("knows no such chain" in line for line in problems_of(look(home.path)))


def test_settings_that_are_equal_need_no_new_chain(tmp_path: Path) -> None:
    assert terms_at(tmp_path, bodies="hashed") == terms_at(tmp_path, bodies="hashed")
    assert terms_at(tmp_path) != terms_at(tmp_path, keep_days=3)
    assert len({terms_at(tmp_path), terms_at(tmp_path)}) == 1
