"""Sizing: the queue against hand-made cases, and the published arithmetic on a synthetic trace."""

from pathlib import Path

import pytest

from headrace.filters.routing.sizing import Server, compare, sized, waited
from headrace.filters.routing.trace import Arrival, TraceError, read_trace, synthetic

SERVER = Server(kv_tokens=524_288, prefill=8000, decode=40)


def trace_of(requests: int, short: float, per_second: float) -> list[Arrival]:
    return list(synthetic(requests, short, per_second, seed=5))


@pytest.mark.parametrize("short", [0.5, 0.8, 0.95])
def test_the_saving_is_the_published_one(short: float) -> None:
    """Where the time a request takes does not depend on its prompt, α is the share of short requests; slots are 64 and 8."""
    server = Server(524_288, prefill=1e12, decode=40)
    found = compare(trace_of(30_000, short, 100), (8192, 65_536), server, wait=1)
    expected = short * (1 - 1 / 8)
    assert found.rho == [8]
    assert found.published == pytest.approx(expected, abs=0.01)
    assert found.saving == pytest.approx(expected, abs=0.03)


def test_shares_are_of_the_load_where_long_prompts_take_longer() -> None:
    found = compare(trace_of(5000, 0.8, 50), (8192, 65_536), SERVER, wait=1)
    seconds = 0.8 * (1600 / 8000 + 10), 0.2 * (29_600 / 8000 + 10)
    assert found.alpha[0] == pytest.approx(seconds[0] / sum(seconds), abs=0.01)


def test_one_pool_saves_nothing() -> None:
    found = compare(trace_of(500, 0.8, 50), (65_536,), SERVER, wait=1)
    assert (found.saving, found.published, found.servers_with) == (0, 0, found.servers_without)


def test_what_no_pool_takes_is_counted_apart() -> None:
    found = compare([Arrival(0, 65_136, 400), Arrival(0, 65_137, 400)], (8192, 65_536), SERVER, wait=0)
    assert (found.requests, found.too_large, found.one_pool.requests) == (2, 1, 1)
    assert [pool.servers for pool in found.pools] == [0, 1]


def test_a_trace_without_a_fitting_request_needs_no_server() -> None:
    found = compare([Arrival(0, 70_000, 1)], (8192,), SERVER, wait=0)
    assert (found.servers_without, found.servers_with, found.saving) == (0, 0, 0)


@pytest.mark.parametrize(("slots", "wait"), [(1, 20.0), (2, 10.0), (3, 0.0), (4, 0.0)])
def test_requests_wait_for_the_slot_that_is_free_first(slots: int, wait: float) -> None:
    assert waited([(0, 10), (0, 10), (0, 10)], slots) == wait


@pytest.mark.parametrize("wait", [0.0, 0.5, 5.0])
def test_the_servers_are_the_fewest(wait: float) -> None:
    trace = trace_of(2000, 0.5, 30)
    found = sized(trace, 65_536, SERVER, wait)
    jobs = [(one.arrival, SERVER.seconds(one)) for one in trace]
    assert found.wait <= wait < waited(jobs, (found.servers - 1) * found.slots)


def test_a_trace_is_read_in_the_order_of_arrival(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text('{"arrival": 2, "prompt": 1, "answer": 2}\n\n{"arrival": 1, "prompt": 3, "answer": 4, "more": true}\n')
    assert read_trace(path) == [Arrival(1, 3, 4), Arrival(2, 1, 2)]


@pytest.mark.parametrize(
    "line",
    [
        '{"arrival": 1, "prompt": 3}',
        '{"arrival": -1, "prompt": 3, "answer": 4}',
        '{"arrival": 1, "prompt": 3.5, "answer": 4}',
        '{"arrival": NaN, "prompt": 3, "answer": 4}',
        "[" * 100_000,
        '{"arrival": 1, "prompt": 1000000000, "answer": 4}',
        "\x00",
    ],
)
def test_a_line_that_is_no_request_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text('{"arrival": 2, "prompt": 1, "answer": 2}\n' + line)
    with pytest.raises(TraceError, match=r"t\.jsonl:2: .*a line is like"):
        read_trace(path)


def test_an_empty_trace_is_refused(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text("\n\n")
    with pytest.raises(TraceError, match="no request"):
        read_trace(tmp_path / "t.jsonl")
