"""A policy that was compiled for what it leaves behind leaves tables, and nothing of itself."""

import subprocess
import sys
from pathlib import Path

from tests.service.conftest import POLICY

PROGRAM = """
import gc, sys, weakref
from pathlib import Path
from headrace.ext_proc.service import rehearsal
from headrace.ext_proc.engine.counting import counter
from headrace.filters.pii import plan

left = []
def load_tables(policy, offload, real=rehearsal.load_tables):
    left.append(weakref.ref(policy.catalogue))
    real(policy, offload)
rehearsal.load_tables = load_tables
rehearsal.rehearse(Path(sys.argv[1]), "envoy")
print(f"policies={sum(ref() is not None for ref in left)} of {len(left)}")
print(f"vocabularies={counter.bundled.cache_info().currsize}")
print(f"detectors={plan.detector_for.cache_info().currsize}")
print(f"threads={len(list(Path('/proc/self/task').iterdir()))}")
print(f"children={Path('/proc/self/task').joinpath(str(__import__('os').getpid()), 'children').read_text()!r}")
"""
PII = "  - pii: {request: replace, model: rampart}\n"


def after(policy: Path) -> list[str]:
    command = [sys.executable, "-c", PROGRAM, str(policy)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout.splitlines()


def test_what_is_left_of_a_policy_is_tables_without_threads_and_processes(policy: Path) -> None:
    policy.write_text(POLICY + PII)
    assert after(policy) == ["policies=0 of 1", "vocabularies=1", "detectors=1", "threads=1", "children=''"]


def test_a_policy_with_another_packages_filter_leaves_what_ours_need(policy: Path) -> None:
    policy.write_text(POLICY + PII + "  - elsewhere: {}\n")
    assert after(policy) == ["policies=0 of 0", "vocabularies=0", "detectors=1", "threads=1", "children=''"]


def test_a_file_that_is_no_policy_leaves_nothing(policy: Path) -> None:
    policy.write_text("nonsense: [")
    assert after(policy) == ["policies=0 of 0", "vocabularies=0", "detectors=0", "threads=1", "children=''"]


JOINED = """
import os, threading
from headrace.ext_proc.service import rehearsal
left = 0
for _ in range(500):
    threading.Thread(target=sum, args=(range(1000),)).start()
    rehearsal._join()
    left += len(os.listdir("/proc/self/task")) - 1
print(f"{left=}")
"""


def test_a_thread_that_was_waited_for_is_gone() -> None:
    found = subprocess.run([sys.executable, "-c", JOINED], capture_output=True, text=True, timeout=120, check=True)
    assert found.stdout == "left=0\n"


CHANGING = """
import gc, sys
from pathlib import Path
from headrace.ext_proc.service.rehearsal import rehearse

policy = Path(sys.argv[1])
text = policy.read_text()
gc.disable()
for number in range(24):
    policy.write_text(text if number % 2 else f"{text}  # {number}\\n  - no_such_filter: {{}}\\n")
    rehearse(policy, "envoy")
    if number == 3:
        frozen = gc.get_freeze_count()
print(f"more={gc.get_freeze_count() - frozen}")
"""


def test_policies_that_change_leave_nothing_that_is_never_searched_for_garbage(policy: Path) -> None:
    policy.write_text(POLICY + PII)
    found = subprocess.run([sys.executable, "-c", CHANGING, str(policy)], capture_output=True, text=True, timeout=120, check=True)
    assert found.stdout == "more=0\n"
