"""The bench's arithmetic."""

import os

import pytest

from tests.bench.figures import Run, Sample, summarise
from tests.bench.load import Load
from tests.bench.processes import cpu_by_part, peak_by_part
from tests.bench.report import comparison
from tests.bench.rounds import turned


def sample(requests: int, p50: float, cpu: dict[str, float], **crowd: int) -> Sample:
    errors = {"refused": 0, "broken": 0} | crowd
    return Sample(Load(requests, 2.0, 9.0, 9.0, **errors), Load(100, 1.0, p50, p50 * 2, 0, 0), cpu)


def run(name: str, rps: float, p50: float) -> Run:
    return Run(name, rps, p50, p50, 1.0, 1.0, True, [], {}, {}, [])


def test_a_run_has_the_medians_of_its_rounds() -> None:
    last = sample(2000, 2.0, {"envoy": 1.0, "store": 1.0})
    samples = [sample(1000, 3.0, {"envoy": 1.0}), sample(4000, 1.0, {"envoy": 4.0}), last]
    found = summarise("noop", samples, {"envoy": 50.0, "service": 70.25})
    assert (found.rps, found.p50_ms, found.p99_ms) == (1000.0, 2.0, 4.0)
    assert found.cpu_s_per_1000 == 1.0
    assert found.cpu_s_per_1000_by_part == {"envoy": 1.0, "store": 0.0}
    assert found.rss_mb == 120.2
    assert found.valid and len(found.rounds) == 3


@pytest.mark.parametrize("errors", [{"refused": 1}, {"broken": 1}])
def test_one_error_makes_the_run_invalid_and_says_where(errors: dict[str, int]) -> None:
    found = summarise("bare", [sample(10, 1.0, {}), sample(10, 1.0, {}, **errors)], {})
    assert not found.valid
    assert [problem.partition(":")[0] for problem in found.problems] == ["round 2"]


def test_every_gateway_begins_a_round() -> None:
    names = ["bare", "noop", "headrace"]
    assert {turned(names, number)[0] for number in range(3)} == set(names)
    assert all(set(turned(names, number)) == set(names) for number in range(5))


def test_the_comparison_needs_all_three() -> None:
    runs = [run("bare", 30000, 0.2), run("noop", 5000, 0.7), run("headrace", 2000, 1.2)]
    assert comparison(runs[:2]) == []
    assert comparison(runs) == ["headrace: 40% of the no-op's requests/s; adds 2.00 times the no-op's p50 to bare Envoy's"]


def test_the_cpu_of_this_process_grows_with_its_work() -> None:
    roots = {"self": os.getpid()}
    before = cpu_by_part(roots)["self"]
    while cpu_by_part(roots)["self"] == before:
        sum(range(10_000))
    assert peak_by_part(roots)["self"] > 1
