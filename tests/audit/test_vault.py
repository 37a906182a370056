"""Bodies under tenants' keys: bound to their place, readable with the master key, gone with the data key."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.ext_proc.audit.errors import AuditError, KeyGone
from headrace.ext_proc.audit.home import Home
from headrace.ext_proc.audit.masters import LocalMaster, kms_master, local_master
from headrace.ext_proc.audit.vault import Spot, Vault, erased, key_files, tenant_of
from tests.audit.logs import MASTER

BLUE, RED = ("acme", "blue"), ("acme", "red")
SPOT = Spot("chain", 1, 7, "request")
PLENTY = 10_000


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path)
    home.make()
    return home


def put(vault: Vault, data: bytes, tenant: tuple[str, ...] = BLUE, spot: Spot = SPOT) -> dict[str, object]:
    return vault.put(data, tenant, spot, "encrypted", PLENTY)


def test_another_process_with_the_master_key_reads_what_was_put(home: Home) -> None:
    body = put(Vault(home, MASTER), b"secret")
    assert Vault(home, MASTER).opened(body, SPOT) == b"secret"
    assert body["bytes"] == 6
    assert b"secret" not in b"".join(path.read_bytes() for path in home.tenants.iterdir())


@pytest.mark.parametrize("spot", [Spot("chain", 1, 8, "request"), Spot("other", 1, 7, "request"), Spot("chain", 1, 7, "answer")])
def test_a_body_that_was_moved_does_not_open(spot: Spot, home: Home) -> None:
    vault = Vault(home, MASTER)
    with pytest.raises(KeyGone, match="not encrypted for this place"):
        vault.opened(put(vault, b"secret"), spot)


def test_a_body_under_another_tenant_s_key_id_does_not_open(home: Home) -> None:
    vault = Vault(home, MASTER)
    body, other = put(vault, b"secret"), put(vault, b"secret", RED)
    with pytest.raises(KeyGone):
        vault.opened({**body, "key": other["key"]}, SPOT)


def test_another_master_key_opens_nothing(home: Home) -> None:
    body = put(Vault(home, MASTER), b"secret")
    with pytest.raises(KeyGone, match="is wrapped by the master key"):
        Vault(home, LocalMaster(b"n" * 32)).opened(body, SPOT)


def test_a_data_key_that_was_moved_to_another_tenant_does_not_open(home: Home) -> None:
    vault = Vault(home, MASTER)
    put(vault, b"secret")
    ((path, file),) = key_files(home)
    path.write_bytes(path.read_bytes().replace(b'"blue"', b'"red"'))
    with pytest.raises(KeyGone):
        Vault(home, MASTER).opened({"key": file.id, "sealed": ""}, SPOT)


def test_a_tenant_that_was_erased_gets_another_key_at_once_also_in_a_worker_that_knew_the_old_one(home: Home) -> None:
    vault = Vault(home, MASTER)
    before = put(vault, b"secret")
    kept = put(vault, b"kept", RED)
    assert erased(home, BLUE) == [before["key"]]
    with pytest.raises(KeyGone, match="is erased"):
        vault.opened(before, SPOT)
    after = put(vault, b"new")
    assert after["key"] != before["key"]
    assert vault.opened(after, SPOT) == b"new"
    assert vault.opened(kept, SPOT) == b"kept"


def test_two_workers_that_begin_with_a_tenant_agree_on_its_key(home: Home) -> None:
    one, other = Vault(home, MASTER), Vault(home, MASTER)
    assert put(one, b"a")["key"] == put(other, b"b")["key"]


def test_a_body_that_is_too_long_is_kept_in_part(home: Home) -> None:
    vault = Vault(home, MASTER)
    body = vault.put(b"x" * 50, BLUE, SPOT, "encrypted", 10)
    assert (body["bytes"], vault.opened(body, SPOT)) == (50, b"x" * 10)


@given(st.binary(max_size=200), st.binary(max_size=200))
def test_hashes_are_equal_for_one_text_of_one_tenant_alone(one: bytes, other: bytes) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as name:
        home = Home(Path(name))
        home.make()
        vault = Vault(home, MASTER)
        said = vault.put(one, BLUE, SPOT, "hashed", PLENTY)
        again = vault.put(other, BLUE, Spot("elsewhere", 2, 9, "request"), "hashed", PLENTY)
        assert (said["mac"] == again["mac"]) == (one == other)
        assert said["mac"] != vault.put(one, RED, SPOT, "hashed", PLENTY)["mac"]
        assert vault.is_of(said, one)


def test_tenants_are_as_the_policy_says() -> None:
    decided = {"principal": {"organisation": "acme", "team": "blue", "user": "ada"}}
    assert tenant_of(decided, "organisation") == ("acme",)
    assert tenant_of(decided, "user") == ("acme", "blue", "ada")
    assert tenant_of({"team": "blue"}, "team") == ("default", "blue")


@pytest.mark.parametrize("text", ["", "short", "a" * 44, "b" * 43 + "=\n", "b" * 42 + "=="])
def test_a_master_key_is_32_bytes_in_base64(text: str) -> None:
    assert (local_master(text) is not None) == text.startswith("b" * 43)


def test_a_kms_that_nobody_connects_is_said(home: Home) -> None:
    with pytest.raises(AuditError, match=r"no package connects a KMS 'vault'; .* there is none"):
        kms_master("vault", "key")
