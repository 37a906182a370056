"""The bench runs, from end to end, and refuses to without its load generator."""

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from tests.bench import failover, processes

ROOT = Path(__file__).parents[2]


def bench(*arguments: str, path: str | None = None) -> subprocess.CompletedProcess[str]:
    environment = os.environ | ({"PATH": path} if path is not None else {})
    command = (sys.executable, "-m", "tests.bench", *arguments)
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=110, check=False)


@pytest.mark.e2e
@pytest.mark.skipif(shutil.which("wrk") is None, reason="needs wrk: apt-get install wrk")
def test_a_quick_bench_writes_figures_for_every_gateway(tmp_path: Path) -> None:
    out = tmp_path / "build" / "bench.json"
    done = bench("--quick", "--out", str(out))
    assert done.returncode == 0, done.stderr
    found = json.loads(out.read_text())
    assert [run["name"] for run in found["runs"]] == ["bare", "noop", "noop-h2", "headrace"]
    for run in found["runs"]:
        assert run["problems"] == []
        assert min(run[figure] for figure in ("rps", "p50_ms", "p99_ms", "cpu_s_per_1000", "rss_mb")) > 0
        assert run["name"] in done.stdout


@pytest.mark.e2e
def test_a_bench_that_is_killed_leaves_nothing_behind(tmp_path: Path) -> None:
    command = (sys.executable, "-m", "tests.bench", "--quick", "--out", str(tmp_path / "bench.json"))
    begun = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait(lambda: _has_worker(begun.pid))
        below = [pid for pid in processes.tree(begun.pid) if pid != begun.pid]
    finally:
        begun.kill()
        begun.wait()
    _wait(lambda: not list(_running(below)))


def _has_worker(pid: int) -> bool:
    with contextlib.suppress(OSError):  # one of them has just ended
        return "worker" in map(processes.role, processes.tree(pid))
    return False


def _running(pids: Iterable[int]) -> Iterable[int]:
    return [pid for pid in pids if (processes.PROC / str(pid)).exists()]


def _wait(until: Callable[[], bool], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not until():
        assert time.monotonic() < end
        time.sleep(0.1)


@pytest.mark.e2e
def test_the_services_own_python_is_measured_in_process() -> None:
    command = (sys.executable, "-m", "tests.bench.inprocess", "--requests", "100", "--profile")
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=110, check=False)
    assert done.returncode == 0, done.stderr
    assert re.search(r"^[1-9]\d* µs of CPU per request$", done.stdout, re.MULTILINE)
    assert "guard.py" in done.stdout


def test_without_wrk_it_says_how_to_get_it(tmp_path: Path) -> None:
    done = bench("--out", str(tmp_path / "bench.json"), path=str(tmp_path))
    assert done.returncode == 1
    assert "apt-get install wrk" in done.stderr
    assert not (tmp_path / "bench.json").exists()


@pytest.mark.e2e
def test_the_transports_are_measured_by_themselves() -> None:
    command = (sys.executable, "-m", "tests.bench.transport", "--count", "64", "--seconds", "0.2")
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=110, check=False)
    assert done.returncode == 0, done.stderr
    row = r"^(\w+): \d+ µs of CPU per call, \d+\.\d per event, [1-9]\d* MiB$"
    assert re.findall(row, done.stdout, re.MULTILINE) == ["h2", "grpcio"]


async def test_the_bench_of_failover_measures_every_case_and_finds_each_charged_once() -> None:
    lines = failover.summary(await failover.measure(requests=2))
    assert len(lines) == 6
    assert all("p99" in line and "2 requests, each charged once" in line for line in lines)


@pytest.mark.e2e
def test_what_the_store_takes_is_measured_for_each_number_of_levels() -> None:
    command = (sys.executable, "-m", "tests.bench.store", "--calls", "32", "--table")
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=110, check=False)
    assert done.returncode == 0, done.stderr
    rows = re.findall(r"^\| (\d) levels? \| (\d+) \| (?!0\.0* )\d+\.\d", done.stdout, re.MULTILINE)
    assert rows == [(str(n), str(2 * n)) for n in range(1, 7)]
