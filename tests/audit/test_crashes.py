"""What was acknowledged is there after kill -9, whenever it comes; the chain goes on in the next one, and says so."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from random import Random

from headrace.ext_proc.audit.chain import Chain
from headrace.ext_proc.audit.home import Home
from headrace.ext_proc.audit.reading import Wanted, entries
from headrace.ext_proc.audit.verifying import problems_of, verified
from tests.audit.logs import Ticking, terms_at, written

KILLS = 100 if os.environ.get("HEADRACE_LONG") == "1" else 2
ROOT = Path(__file__).parents[2]


def killed(directory: Path, after: int) -> list[str]:
    """A writer that is killed once it has acknowledged `after` records; all that it had acknowledged by then."""
    command = [sys.executable, "-m", "tests.audit.crashing", str(directory)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        acknowledged = [process.stdout.readline().strip() for _ in range(after)]
        process.send_signal(signal.SIGKILL)
        return acknowledged + process.stdout.read().split()


def test_no_acknowledged_record_is_lost(tmp_path: Path) -> None:
    chance, total = Random(8), 0
    for _ in range(KILLS):
        before = set(Home(tmp_path).names())
        acknowledged = killed(tmp_path, chance.randrange(200))
        (chain,) = set(Home(tmp_path).names()) - before
        there = {entry.exchange for entry in entries(tmp_path, Wanted(kinds=frozenset({"decision"}))) if entry.chain == chain}
        assert set(acknowledged) <= there
        total += len(acknowledged)
    found = verified(tmp_path)
    assert problems_of(found) == []
    assert found.chains == KILLS
    assert found.records >= total


def test_a_torn_batch_is_cut_off_and_told_of(tmp_path: Path) -> None:
    torn = written(tmp_path, 9, close=False)
    path = Home(tmp_path).segments(torn.name)[0]
    whole = path.stat().st_size
    with path.open("ab") as file:
        file.write(b'{"seq":99,"prev":"half a rec')
    assert next(note.what for note in verified(tmp_path).notes).startswith("28 bytes behind the last checkpoint")
    abandoned(torn)
    chain = Chain(terms_at(tmp_path), "0", Ticking().now_ms)
    chain.close()
    assert path.stat().st_size == whole
    (entry,) = entries(tmp_path, Wanted(kinds=frozenset({"recovered"})))
    assert (entry.line.record["chain"], entry.line.record["torn"]) == (torn.name, 28)
    assert (problems_of(verified(tmp_path)), verified(tmp_path).notes) == ([], [])


def abandoned(chain: Chain) -> None:
    """As the kernel does when a process dies: the lock is gone, and nothing was closed."""
    os.close(chain.__dict__["_lock"])


def test_a_chain_whose_worker_lives_is_left_alone(tmp_path: Path) -> None:
    first = written(tmp_path, 3, close=False)
    second = written(tmp_path, 3, worker="1")
    assert not list(entries(tmp_path, Wanted(kinds=frozenset({"recovered"}))))
    assert first.name != second.name
    first.close()
    assert problems_of(verified(tmp_path)) == []


def test_an_end_that_no_crash_leaves_is_not_made_good(tmp_path: Path) -> None:
    chain = written(tmp_path, 9, close=False)
    path = Home(tmp_path).segments(chain.name)[0]
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:-1]) + lines[-1].replace(b'"signature":"', b'"signature":"AA'))
    abandoned(chain)
    Chain(terms_at(tmp_path), "0", Ticking().now_ms).close()
    assert any("no valid signature" in line for line in problems_of(verified(tmp_path)))


def test_a_chain_that_died_before_its_first_line_is_no_problem(tmp_path: Path) -> None:
    chain = written(tmp_path, 0, close=False)
    path = Home(tmp_path).segments(chain.name)[0]
    path.write_bytes(path.read_bytes()[:20])
    abandoned(chain)
    Chain(terms_at(tmp_path), "0", Ticking().now_ms).close()
    assert not path.exists()
    assert problems_of(verified(tmp_path)) == []
    assert [note.what for note in verified(tmp_path).notes] == ["had no record when its worker was found dead"]


def test_a_manifest_whose_last_line_is_torn_goes_on(tmp_path: Path) -> None:
    written(tmp_path, 3)
    with Home(tmp_path).manifest.open("ab") as file:
        file.write(b'{"seq":7,')
    written(tmp_path, 3, worker="1")
    assert problems_of(verified(tmp_path)) == []
