"""The bench of candidates: how it sums up its rounds; and, with HEADRACE_LONG=1, that it runs."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.bench.candidate import OUTCOMES, Sample, compared
from tests.bench.load import Load

ROOT = Path(__file__).parents[2]


def sample(p99_ms: float, cpu_s: float = 1.0) -> Sample:
    return Sample(Load(requests=1000, seconds=2, p50_ms=p99_ms / 2, p99_ms=p99_ms, refused=0, broken=0), cpu_s)


def test_one_slow_round_changes_no_median() -> None:
    found = compared([sample(10), sample(11), sample(900)], [sample(12, 2), sample(11, 2), sample(11, 2)])
    assert found["ratio"] == {"rps": 1, "p50_ms": 1, "p99_ms": 1, "cpu_s_per_1000": 2}


@pytest.mark.skipif(not os.environ.get("HEADRACE_LONG"), reason="takes half a minute: HEADRACE_LONG=1")
def test_it_tries_the_candidate_on_every_kind_of_crowd() -> None:
    command = (sys.executable, "-m", "tests.bench.candidate", "--rounds", "1", "--seconds", "1")
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=110, check=False)
    assert done.returncode == 0, done.stderr
    crowds = json.loads(done.stdout)["crowds"]
    assert len(crowds) == 3
    for crowd in crowds:
        assert set(crowd["tried"]) == set(OUTCOMES)
        assert crowd["tried"]["same"] > 0
        assert crowd["tried"]["failed"] == 0
