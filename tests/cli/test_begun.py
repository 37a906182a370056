"""`headrace serve` begins its fork server before it reads its options, and no other command does."""

import os
from pathlib import Path

import pytest

from headrace.ext_proc.cli import _begun
from headrace.ext_proc.service import forking
from tests.cli.command import headrace
from tests.service.waiting import children


def test_a_fork_server_begins_with_the_service_and_ends_with_the_command() -> None:
    with _begun(["serve", "policy.yaml"]) as server:
        assert server is not None
        assert server.pid in children(os.getpid())
    assert server.has_ended


@pytest.mark.parametrize("arguments", [[], ["check", "serve"], ["serve", "--help"], ["--help"]])
def test_no_other_command_begins_one(arguments: list[str]) -> None:
    with _begun(arguments) as server:
        assert server is None


def test_a_system_without_room_for_a_process_keeps_no_command_from_saying_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused() -> None:
        raise BlockingIOError

    monkeypatch.setattr(forking, "ForkServerProcess", refused)
    with _begun(["serve", "policy.yaml"]) as server:
        assert server is None


def test_options_are_judged_before_the_policy_is_read(tmp_path: Path) -> None:
    fifo = tmp_path / "policy.yaml"
    os.mkfifo(fifo)  # who opens it to read waits for a writer
    found = headrace("serve", str(fifo), "--log-level", "loud", cwd=tmp_path)
    assert (found.returncode, found.stdout) == (2, "")
    assert "'loud' is none of" in found.stderr
