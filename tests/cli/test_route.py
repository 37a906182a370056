"""`headrace route simulate` as a user runs it."""

import json
from pathlib import Path

from tests.cli.command import headrace

LINES = [{"arrival": index / 50, "prompt": 30_000 if index % 5 == 0 else 1000, "answer": 200} for index in range(500)]


def trace(folder: Path) -> Path:
    path = folder / "trace.jsonl"
    path.write_text("\n".join(map(json.dumps, LINES)))
    return path


def test_the_document_and_the_plot(tmp_path: Path) -> None:
    done = headrace("route", "simulate", str(trace(tmp_path)), "--json", "--plot", str(tmp_path / "p.png"), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert [pool["max_tokens"] for pool in found["pools"]] == [8192, 65536]
    assert found["servers_with"] < found["servers_without"] == found["one_pool"]["servers"]
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")


def test_a_pool_that_no_server_holds_is_refused(tmp_path: Path) -> None:
    done = headrace("route", "simulate", str(trace(tmp_path)), "--pool", "9000", "--kv-tokens", "8000", cwd=tmp_path)
    assert done.returncode == 2
    assert "holds 8000 tokens" in done.stderr


def test_a_trace_that_cannot_be_read_ends_with_1(tmp_path: Path) -> None:
    done = headrace("route", "simulate", str(tmp_path / "none.jsonl"), cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert "none.jsonl" in done.stderr
