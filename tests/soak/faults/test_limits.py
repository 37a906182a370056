"""A real process that is refused, and is not any more afterwards."""

import contextlib
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.soak.faults.limits import descriptors, few_descriptors, no_growing_files

WRITING = """
import sys
out, held = open(sys.argv[1], "ab", buffering=0), []
for line in sys.stdin:
    try:
        held.append(open("/dev/null")) if line == "open\\n" else out.write(b"x")
        print("done", flush=True)
    except OSError as error:
        print(error.strerror, flush=True)
"""
Tell = Callable[[str], str]


@contextlib.contextmanager
def _process(file: Path) -> Iterator[tuple[int, Tell]]:
    with subprocess.Popen(
        [sys.executable, "-c", WRITING, str(file)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:

        def tell(what: str) -> str:
            assert process.stdin is not None and process.stdout is not None
            process.stdin.write(f"{what}\n")
            process.stdin.flush()
            return process.stdout.readline().strip()

        yield process.pid, tell
        process.communicate()


def test_files_stop_growing_and_grow_again(tmp_path: Path) -> None:
    with _process(tmp_path / "log") as (pid, tell):
        assert tell("write") == "done"
        with no_growing_files([pid]):
            assert tell("write") == "File too large"
        assert tell("write") == "done"
    assert (tmp_path / "log").read_text() == "xx"


def test_descriptors_run_out_and_are_there_again(tmp_path: Path) -> None:
    with _process(tmp_path / "log") as (pid, tell):
        assert tell("write") == "done"  # it has started
        before = descriptors(pid)
        with few_descriptors([pid], 1):
            assert [tell("open"), tell("open")] == ["done", "Too many open files"]
        assert tell("open") == "done"
        assert descriptors(pid) == before + 2


@pytest.mark.parametrize("limited", [no_growing_files, lambda pids: few_descriptors(pids, 3)])
def test_a_process_that_has_ended_is_left_out(limited: Callable[[list[int]], contextlib.AbstractContextManager[None]]) -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    with limited([process.pid]):
        pass
