"""`headrace keys`."""

import json
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from headrace.ext_proc.engine.key_files import read_keys
from headrace.ext_proc.engine.key_store import find_key
from headrace.ext_proc.engine.keys import KeyRecord, digest, load_pepper
from headrace.ext_proc.stores.embedded import EmbeddedStore
from tests.cli.command import headrace
from tests.patience import patient_store


@pytest.fixture(autouse=True)
def no_pepper_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HEADRACE_PEPPER", raising=False)


def create(directory: Path, *options: str) -> dict[str, Any]:
    done = headrace("keys", "create", "--json", *options, cwd=directory)
    assert done.returncode == 0, done.stderr
    shown = json.loads(done.stdout)
    assert isinstance(shown, dict)
    return shown


def failed(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode != 0 and "Traceback" not in done.stderr
    return " ".join(done.stderr.replace("│", " ").split())


def test_a_key_is_shown_once_and_its_digest_kept(tmp_path: Path) -> None:
    done = headrace("keys", "create", "--team", "research", "--user", "ada", "--model", "gpt-*", "--model", "llama", cwd=tmp_path)
    secret = done.stdout.strip()
    (kept,) = read_keys(tmp_path / "keys.yaml")
    assert kept.digest == digest(load_pepper(tmp_path / "headrace.pepper", {}), secret)
    assert (kept.team, kept.user, kept.models, kept.expires) == ("research", "ada", ("gpt-*", "llama"), None)
    assert secret not in (tmp_path / "keys.yaml").read_text()
    assert kept.id in done.stderr and secret not in done.stderr


def test_both_files_are_their_owner_s_alone(tmp_path: Path) -> None:
    create(tmp_path)
    assert {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {
        "keys.yaml": 0o600, "headrace.pepper": 0o600,
    }  # fmt: skip


def test_keys_are_added_under_one_pepper(tmp_path: Path) -> None:
    secrets = [create(tmp_path, "--user", user)["key"] for user in ("a", "b")]
    pepper = load_pepper(tmp_path / "headrace.pepper", {})
    assert [key.digest for key in read_keys(tmp_path / "keys.yaml")] == [digest(pepper, secret) for secret in secrets]


def test_a_pepper_of_the_environment_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADRACE_PEPPER", "e" * 32)
    secret = create(tmp_path)["key"]
    assert [path.name for path in tmp_path.iterdir()] == ["keys.yaml"]
    assert read_keys(tmp_path / "keys.yaml")[0].digest == digest(b"e" * 32, secret)


@pytest.mark.parametrize(
    ("expires", "at_most"),
    [("12h", timedelta(hours=12)), ("90d", timedelta(days=90)), ("8w", timedelta(weeks=8))],
)
def test_a_key_ends_after_a_time_from_now(tmp_path: Path, expires: str, at_most: timedelta) -> None:
    before = datetime.now(UTC).replace(microsecond=0)
    end = datetime.fromisoformat(create(tmp_path, "--expires", expires)["expires"])
    assert before + at_most <= end <= datetime.now(UTC) + at_most


def test_a_key_ends_with_a_date(tmp_path: Path) -> None:
    assert create(tmp_path, "--expires", "2999-01-31")["expires"] == "2999-01-31T00:00:00Z"
    assert create(tmp_path, "--expires", "2999-01-31T12:00:00+02:00")["expires"] == "2999-01-31T10:00:00Z"


@pytest.mark.parametrize(
    "options",
    [
        ("--expires", "yesterday"),
        ("--expires", "2001-01-01"),
        ("--expires", "9" * 30 + "d"),
        ("--expires", ""),
        ("--team", "a{b}"),
        ("--user", " x"),
        ("--model", ""),
        ("--file", "nowhere/keys.yaml"),
    ],
)
def test_what_makes_no_key_is_refused_in_a_sentence(tmp_path: Path, options: tuple[str, str]) -> None:
    message = failed(headrace("keys", "create", *options, cwd=tmp_path))
    assert options[0] in message or "nowhere: No such file or directory" in message
    assert not (tmp_path / "keys.yaml").exists()


def test_a_file_with_mistakes_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "keys.yaml").write_text("keys:\n- {id: a}\n")
    assert "keys.yaml:2: keys[0]: 'digest' is missing" in failed(headrace("keys", "create", cwd=tmp_path))
    assert (tmp_path / "keys.yaml").read_text() == "keys:\n- {id: a}\n"


def test_a_list_shows_whose_keys_they_are_and_no_digest(tmp_path: Path) -> None:
    create(tmp_path, "--organisation", "acme", "--app", "bot")
    create(tmp_path, "--expires", "2999-01-01")
    first, second = read_keys(tmp_path / "keys.yaml")
    done = headrace("keys", "list", cwd=tmp_path)
    assert done.stdout.splitlines() == [
        f"{first.id}  active  organisation=acme  app=bot  models=*",
        f"{second.id}  until 2999-01-01T00:00Z  organisation=default  models=*",
    ]
    listed = json.loads(headrace("keys", "list", "--json", cwd=tmp_path).stdout)["keys"]
    assert [key["id"] for key in listed] == [first.id, second.id]
    assert first.digest not in json.dumps(listed)


def test_a_list_of_no_file_is_an_error(tmp_path: Path) -> None:
    assert failed(headrace("keys", "list", cwd=tmp_path)) == "keys.yaml: cannot be read: No such file or directory"


def test_a_revoked_key_stays_disabled(tmp_path: Path) -> None:
    ids = [create(tmp_path)["id"] for _ in range(2)]
    assert headrace("keys", "revoke", ids[0], cwd=tmp_path).stdout == f"{ids[0]} is revoked.\n"
    assert [(key.id, key.disabled) for key in read_keys(tmp_path / "keys.yaml")] == [(ids[0], True), (ids[1], False)]
    assert "revoked" in headrace("keys", "list", cwd=tmp_path).stdout


def test_an_unknown_id_revokes_nothing(tmp_path: Path) -> None:
    known = create(tmp_path)["id"]
    assert f"did you mean '{known}'?" in failed(headrace("keys", "revoke", known[:-1], cwd=tmp_path))


def test_keys_made_at_the_same_time_are_all_kept(tmp_path: Path) -> None:
    users = [f"u{number}" for number in range(4)]
    with ThreadPoolExecutor(len(users)) as pool:
        done = pool.map(lambda user: headrace("keys", "create", "--user", user, cwd=tmp_path), users)
    assert [process.returncode for process in done] == [0] * 4
    assert sorted(str(key.user) for key in read_keys(tmp_path / "keys.yaml")) == users


def rotate(directory: Path, *options: str) -> dict[str, Any]:
    done = headrace("keys", "rotate", "--json", *options, cwd=directory)
    assert done.returncode == 0, done.stderr
    shown: dict[str, Any] = json.loads(done.stdout)
    return shown


def test_a_rotated_key_is_the_same_caller_s_and_the_old_one_ends_after_the_overlap(tmp_path: Path) -> None:
    other, first = create(tmp_path), create(tmp_path, "--team", "mill", "--model", "gpt-*", "--expires", "2999-01-31")
    before = datetime.now(UTC).replace(microsecond=0)
    fresh = rotate(tmp_path, first["id"], "--overlap", "7d")
    untouched, old, new = read_keys(tmp_path / "keys.yaml")
    assert (untouched.id, untouched.expires) == (other["id"], None)
    assert old.expires is not None and before <= old.expires - timedelta(days=7) <= datetime.now(UTC)
    assert (new.id, new.team, new.models, f"{new.expires:%F}") == (fresh["id"], "mill", ("gpt-*",), "2999-01-31")
    pepper = load_pepper(tmp_path / "headrace.pepper", {})
    assert [old.digest, new.digest] == [digest(pepper, key["key"]) for key in (first, fresh)]


def test_an_overlap_of_nothing_ends_the_old_key_at_once(tmp_path: Path) -> None:
    old = create(tmp_path)["id"]
    rotate(tmp_path, old, "--overlap", "0h")
    kept, new = read_keys(tmp_path / "keys.yaml")
    now = int(datetime.now(UTC).timestamp() * 1000)
    assert (kept.is_expired(now), new.is_expired(now), new.expires) == (True, False, None)


def test_an_overlap_does_not_lengthen_a_key(tmp_path: Path) -> None:
    old = create(tmp_path, "--expires", "2h")
    rotate(tmp_path, old["id"], "--overlap", "9d", "--expires", "2999-01-01")
    kept, new = read_keys(tmp_path / "keys.yaml")
    assert kept.expires == datetime.fromisoformat(old["expires"])
    assert f"{new.expires:%F}" == "2999-01-01"


@pytest.mark.parametrize("ended", ["revoked", "expired", "unknown", "overlap"])
def test_what_has_ended_is_not_rotated(tmp_path: Path, ended: str) -> None:
    id = create(tmp_path, *(["--expires", "0h"] if ended == "expired" else []))["id"]
    if ended == "revoked":
        headrace("keys", "revoke", id, cwd=tmp_path)
    before = (tmp_path / "keys.yaml").read_text()
    options = {"unknown": ["key_none"], "overlap": [id, "--overlap", "2001-01-01"]}.get(ended, [id])
    said = {"unknown": "has no key 'key_none'", "overlap": "--overlap"}.get(ended, f"{id} is {ended}")
    assert said in failed(headrace("keys", "rotate", *options, cwd=tmp_path))
    assert (tmp_path / "keys.yaml").read_text() == before


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with EmbeddedStore() as url:
        yield url


class TestInTheStore:
    @pytest.fixture(autouse=True)
    def where(self, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HEADRACE_STORE", url)

    async def kept(self, url: str, id: str) -> KeyRecord:
        store = patient_store(url)
        key, _ = await find_key(store, id)
        await store.close()
        return key

    async def test_a_key_is_made_rotated_and_revoked_with_its_history(self, url: str, tmp_path: Path) -> None:
        made = create(tmp_path, "--in-store", "--team", "mill", "--who", "ada")
        key = await self.kept(url, made["id"])
        assert key.digest == digest(load_pepper(tmp_path / "headrace.pepper", {}), made["key"])
        fresh = rotate(tmp_path, made["id"], "--in-store", "--who", "bob")
        headrace("keys", "revoke", "--in-store", "--who", "eve", fresh["id"], cwd=tmp_path)
        old, new = await self.kept(url, made["id"]), await self.kept(url, fresh["id"])
        assert [(act.what, act.by) for act in old.history] == [("created", "ada"), ("rotated", "bob")]
        assert [(act.what, act.by) for act in new.history] == [("created", "bob"), ("revoked", "eve")]
        assert (new.team, new.disabled, old.disabled, old.expires is None) == ("mill", True, False, False)
        listed = headrace("keys", "list", "--in-store", cwd=tmp_path).stdout
        assert f"{new.id}  revoked" in listed and f"{old.id}  until" in listed
        assert not (tmp_path / "keys.yaml").exists()

    def test_what_is_not_there_or_has_ended_is_said(self, tmp_path: Path) -> None:
        assert "the store has no key 'key_none'" in failed(headrace("keys", "revoke", "--in-store", "key_none", cwd=tmp_path))
        gone = create(tmp_path, "--in-store", "--expires", "0h")["id"]
        assert f"{gone} is expired" in failed(headrace("keys", "rotate", "--in-store", gone, cwd=tmp_path))

    def test_which_store_must_be_said(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("HEADRACE_STORE")
        assert "--store URL" in failed(headrace("keys", "list", "--in-store", cwd=tmp_path))
