"""A real process with a clock of its own."""

import os
import subprocess
import sys
from pathlib import Path

from tests.soak.faults.clock import SteppedClock

TELLING = """
import sys, time
for _ in sys.stdin:
    print(time.time(), time.monotonic(), flush=True)
"""


def test_the_wall_clock_steps_and_the_monotonic_one_does_not(tmp_path: Path) -> None:
    clock = SteppedClock(tmp_path)
    with subprocess.Popen(
        [sys.executable, "-c", TELLING], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env=os.environ | clock.environment,
    ) as process:  # fmt: skip
        before = times(process)
        clock.step(3600)
        forward = times(process)
        clock.step(-7200)
        back = times(process)
        clock.right()
        right = times(process)
        process.communicate()
    assert forward[0] - before[0] > 3599
    assert back[0] - forward[0] < -7000
    assert right[0] > before[0] and right[0] - before[0] < 3000
    assert before[1] < forward[1] < back[1] < right[1] < before[1] + 3000


def times(process: "subprocess.Popen[str]") -> tuple[float, float]:
    """Wall and monotonic, seconds."""
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write("\n")
    process.stdin.flush()
    wall, monotonic = map(float, process.stdout.readline().split())
    return wall, monotonic
