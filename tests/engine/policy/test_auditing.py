"""What `check` says of `audit`."""

import base64
from pathlib import Path

import pytest

from tests.cli.in_process import headrace

KEY = base64.b64encode(b"k" * 32).decode()
POLICY = """version: 1
models: [{{name: m, price: {{input: 1, output: 1}}}}]
filters: [{{usage: {{}}}}]
audit: {{directory: audit, {settings}}}
"""

WRONG = {
    "bodies: hashed": "policy.yaml:4: audit.bodies: hashed bodies need a master_key, such as {file: master.key}",
    "master_key: {file: good.key}": "audit.master_key: is of no use: no bodies are kept; say bodies: hashed or bodies: encrypted",
    "bodies: encrypted, master_key: {file: bad.key}": "must be 32 bytes in base64, as `openssl rand -base64 32` prints them",
    "bodies: encrypted, master_key: {file: none.key}": "cannot read none.key: No such file or directory",
    "bodies: encrypted, master_key: {env: HR_NO_KEY}": "the environment variable HR_NO_KEY is not set; it must be 32 bytes",
    "bodies: encrypted, master_key: {kms: acme, key: k1}": "no package connects a KMS 'acme'",
    "segment_mb: 64, max_disk_mb: 100": "audit.max_disk_mb: must hold two segments, 128",
    "on_full: drop-and-count, wait_ms: 5": "audit.wait_ms: is of no use: with drop-and-count no request waits",
    "on_full: drop": "audit.on_full: 'drop' is none of block, drop-and-count",
    "body: hashed": "audit.body: unknown key",
}


@pytest.fixture(autouse=True)
def keys(tmp_path: Path) -> None:
    (tmp_path / "good.key").write_text(f"{KEY}\n")
    (tmp_path / "bad.key").write_text("too short")


def said(folder: Path, settings: str) -> str:
    (folder / "policy.yaml").write_text(POLICY.format(settings=settings))
    done = headrace("check", "policy.yaml", cwd=folder)
    return done.stderr if done.returncode else "good"


@pytest.mark.parametrize("settings", WRONG)
def test_what_is_wrong_is_said_with_what_would_be_right(settings: str, tmp_path: Path) -> None:
    assert WRONG[settings] in said(tmp_path, settings)


@pytest.mark.parametrize(
    "settings",
    [
        "",
        "bodies: encrypted, master_key: {file: good.key}, keys_per: user",
        "on_full: drop-and-count, keep_days: 90",
        "wait_ms: 500",
    ],
)
def test_what_is_right_passes_and_makes_nothing(settings: str, tmp_path: Path) -> None:
    assert said(tmp_path, settings) == "good"
    assert not (tmp_path / "audit").exists()


def test_the_summary_names_the_log(tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text(POLICY.format(settings="bodies: hashed, master_key: {file: good.key}"))
    assert "; audit log in audit with hashed bodies" in headrace("check", "policy.yaml", cwd=tmp_path).stdout
