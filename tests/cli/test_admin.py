"""`headrace admin`: tokens are shown once, listed, revoked; the document is printed."""

import json
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from headrace.ext_proc.admin.access import admitted
from headrace.ext_proc.admin.errors import ApiError
from headrace.ext_proc.admin.tokens import ROSTER, Role
from headrace.ext_proc.core.ports import Store
from headrace.ext_proc.stores.embedded import EmbeddedStore
from tests.cli.command import headrace
from tests.patience import patient_store


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with EmbeddedStore() as url:
        yield url


def run(url: str, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    done = headrace("admin", "token", *arguments, "--store", url, cwd=cwd)
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr
    return done


def listed(url: str, holder: str, cwd: Path) -> dict[str, Any]:
    tokens = json.loads(run(url, "list", "--json", cwd=cwd).stdout)["tokens"]
    (found,) = [token for token in tokens if token["holder"] == holder]
    return dict(found)


def said(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode != 0 and "Traceback" not in done.stderr
    return " ".join(done.stderr.replace("│", " ").split())


async def lets_in(store: Store, secret: str, role: Role) -> bool:
    try:
        await admitted(store, [f"Bearer {secret}"], role, datetime.now(UTC))
    except ApiError:
        return False
    return True


async def test_a_token_is_shown_once_lets_in_and_ends(url: str, tmp_path: Path) -> None:
    made = run(url, "create", "--holder", "ada", "--role", "operator", "--expires", "8w", "--who", "rita", cwd=tmp_path)
    secret = made.stdout.strip()
    shown = listed(url, "ada", tmp_path)
    assert (shown["holder"], shown["roles"], shown["state"]) == ("ada", ["operator"], "active")
    assert datetime.fromisoformat(shown["expires"]) - datetime.fromisoformat(shown["created"]) == timedelta(weeks=8)
    assert shown["id"] in made.stderr and secret not in made.stderr
    store = patient_store(url)
    kept = await store.listed(ROSTER, shown["id"])
    assert kept and secret.encode() not in kept.value and secret[-20:].encode() not in kept.value
    assert [await lets_in(store, secret, role) for role in Role] == [True, True, False]
    assert "is revoked" in run(url, "revoke", shown["id"], cwd=tmp_path).stdout
    assert [await lets_in(store, secret, role) for role in Role] == [False] * 3
    await store.close()
    assert listed(url, "ada", tmp_path)["state"] == "revoked"
    audit = headrace("admin", "audit", "--store", url, "--subject", shown["id"], cwd=tmp_path).stdout.splitlines()
    assert [line.split("  ")[2] for line in audit] == ["token.revoked", "token.created"]
    deeds = json.loads(headrace("admin", "audit", "--store", url, "--by", "rita", "--json", cwd=tmp_path).stdout)["deeds"]
    assert [(deed["what"], deed["about"]) for deed in deeds] == [("token.created", "ada (operator)")]


def test_a_token_may_have_several_roles_and_is_printed_as_json(url: str, tmp_path: Path) -> None:
    options = ["--holder", "bob", "--role", "viewer", "--role", "approver", "--json"]
    made = json.loads(run(url, "create", *options, cwd=tmp_path).stdout)
    assert made["token"].startswith(f"hra-{made['id']}-") and made["roles"] == ["viewer", "approver"]
    (line,) = [line for line in run(url, "list", cwd=tmp_path).stdout.splitlines() if made["id"] in line]
    assert line.split("  ") == [made["id"], f"active until {made['expires'][:16]}Z", "bob", "viewer,approver"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["create", "--holder", "ada"], "Missing option '--role'"),
        (["create", "--holder", "ada", "--role", "root"], "'viewer', 'operator', 'approver'"),
        (["create", "--holder", "a\nb", "--role", "viewer"], "printable characters"),
        (["create", "--holder", "ada", "--role", "viewer", "--expires", "never"], "neither a time from now"),
        (["create", "--holder", "ada", "--role", "viewer", "--expires", "2020-01-01"], "nor a date to come"),
        (["revoke", "none"], "the store has no token 'none'"),
        (["revoke", ""], "the store has no token ''"),
    ],
)
def test_what_cannot_be_done_is_said(arguments: list[str], words: str, url: str, tmp_path: Path) -> None:
    assert words in said(headrace("admin", "token", *arguments, "--store", url, cwd=tmp_path))


def test_a_store_that_is_away_is_said(tmp_path: Path) -> None:
    done = headrace("admin", "token", "list", "--store", f"unix://{tmp_path}/none", cwd=tmp_path)
    assert "the store does not answer" in said(done)


def test_an_audit_of_what_cannot_be_a_name_is_refused(url: str, tmp_path: Path) -> None:
    assert "--by" in said(headrace("admin", "audit", "--store", url, "--by", "a{b}", cwd=tmp_path))


def test_the_document_is_printed(tmp_path: Path) -> None:
    printed = json.loads(headrace("admin", "openapi", cwd=tmp_path).stdout)
    assert (printed["openapi"], "/keys" in printed["paths"]) == ("3.1.0", True)
