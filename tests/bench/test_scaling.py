"""The benches of starts and of growth: what they measure is what they say, and the page has it."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.bench import startup
from tests.bench.processes import memory, role
from tests.bench.scaling import axes, page, plot, principals

COSTS = {"service": 0.5, "store": 0.1, "envoy": 0.2}
STORE = {"p50_us": 100.0, "p99_us": 200.0, "calls_per_s": 9_000, "server_us": 60.0}
FOUND: dict[str, Any] = {
    "rounds": 2,
    "taken": "2026-01-01T00:00:00+00:00",
    "load_average": (0.1, 0.2, 0.3),
    "machine": {"cpu": "one", "cores": 2, "os": "Linux 6.1"},
    "versions": {"python": "3.11"},
    "workers": [
        {"workers": number, "rps": 1_000.0, "cpu_s_per_1000": COSTS, "pss_mb": {"service": 200.0 * number}} for number in (1, 2)
    ],
    "axes": {case.axis: {} for case in axes.cases()},
    "principals": [{"principals": number, "bytes_each": 500, "lease_bytes": 300, **STORE} for number in (10, 1_000_000)],
}
for case in axes.cases():
    FOUND["axes"][case.axis][case.at] = 100.0


def test_the_page_says_what_was_measured_and_works_the_example_out(tmp_path: Path) -> None:
    docs = tmp_path / "capacity.md"
    docs.write_text(f"before\n{page.BEGIN}\nreplaced\n{page.END}\nafter\n")
    page.replace(docs, FOUND)
    text = docs.read_text()
    assert text.startswith("before\n") and text.endswith("after\n") and "replaced" not in text
    assert "2026-01-01" in text and "3.11" in text
    assert "| 2 | 0.500 | 0.100 | 0.200 | 1,000 | 400 |" in text
    assert "| 1,000,000 | 500 | 100 | 200 | 60 |" in text
    assert "workers: 500/s × 0.500 s / 1,000 = 0.25 cores busy; / 0.6 = 0.42, so **1**" in text
    assert "20,000 × 500 B = 0.010 GB" in text


def test_the_page_that_is_there_has_a_place_for_the_figures_and_their_plot() -> None:
    text = Path(page.PAGE).read_text()
    assert text.index(page.BEGIN) < text.index(page.END)
    assert Path(page.PAGE).with_suffix(".png").is_file()


def test_the_figures_are_drawn(tmp_path: Path) -> None:
    plot.draw(FOUND, tmp_path / "capacity.png")
    assert (tmp_path / "capacity.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.e2e
@pytest.mark.parametrize("axis", ["messages, all but two seen before", "budgets"])
def test_a_request_of_an_axis_is_measured(axis: str) -> None:
    case = [each for each in axes.cases() if each.axis == axis][1]
    assert axes.measure(replace(case, requests=4), rounds=1) > 0


@pytest.mark.e2e
def test_what_a_principal_holds_in_the_store_is_measured_without_its_leases() -> None:
    found = principals.measured(300, calls=16)
    assert 50 < found["bytes_each"] < found["lease_bytes"] < 1_000
    assert found["server_us"] > 0


def test_a_starts_figures_are_medians_of_its_rounds() -> None:
    runs = [{"ready_s": each, "cpu_s": 1.0, "replaced_s": 2.0, "memory": {"worker": each}} for each in (3.0, 1.0, 9.0)]
    found = startup.summary(runs)
    assert (found["ready_s"], found["memory"]) == (3.0, {"worker": 9.0})


def test_memory_is_read_of_a_process_that_runs() -> None:
    held = memory(os.getpid())
    assert 0 < held.pss <= held.rss
    assert role(os.getpid()) == "supervisor"
