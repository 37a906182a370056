"""`headrace route simulate` as a user runs it."""

import json
from pathlib import Path

import pytest

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


def test_the_published_arithmetic_is_reproduced_on_the_synthetic_trace(tmp_path: Path) -> None:
    """saving = α (1 − 1/ρ), with 80 % of the requests short and eight times as many slots for them."""
    made = headrace("route", "synthesize", "--requests", "10000", "--short", "0.8", cwd=tmp_path)
    assert (made.returncode, made.stderr) == (0, "")
    (tmp_path / "t.jsonl").write_text(made.stdout)
    done = headrace("route", "simulate", "t.jsonl", "--prefill", "1e12", "--json", "--plot", "p.png", cwd=tmp_path)
    found = json.loads(done.stdout)
    assert (found["requests"], found["rho"]) == (10_000, [8])
    assert found["alpha"] == [pytest.approx(0.8, abs=0.01)]
    assert found["published"] == pytest.approx(found["alpha"][0] * (1 - 1 / 8))
    assert found["saving"] == pytest.approx(found["published"], abs=0.03)
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")


def test_a_pool_that_no_server_holds_is_refused(tmp_path: Path) -> None:
    done = headrace("route", "simulate", str(trace(tmp_path)), "--pool", "9000", "--kv-tokens", "8000", cwd=tmp_path)
    assert done.returncode == 2
    assert "holds 8000 tokens" in done.stderr


def test_a_trace_that_cannot_be_read_ends_with_1(tmp_path: Path) -> None:
    done = headrace("route", "simulate", str(tmp_path / "none.jsonl"), cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert "none.jsonl" in done.stderr
