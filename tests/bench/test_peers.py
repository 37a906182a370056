"""The bench of other gateways: its counting, its reading of streams, its table. The measurement itself is `make bench-peers`."""

import json
import random
import re
from pathlib import Path

import msgspec
import pytest
import toktok

from headrace.ext_proc.core.endpoint import Endpoint
from headrace.ext_proc.core.lenses import read_call
from tests.bench.figures import Sample
from tests.bench.load import Load
from tests.bench.peers import budget, environment, litellm, prompts, table
from tests.bench.peers.chunked import Answer
from tests.bench.peers.figures import Measured, Missing, PeerRun, Streamed, latest, peer_run
from tests.bench.peers.gateways import DIRECT, ROWS, UNAVAILABLE
from tests.bench.peers.leaks import ADDRESS, PLACES, Case, Leaks, cases, count, delta
from tests.bench.peers.model import event
from tests.bench.peers.paced import HELD_MS, Paced, figures, letters, smaller
from tests.bench.peers.prompts import Prompts
from tests.bench.peers.streams import Stream, chat

ROOT = Path(__file__).parents[2]
HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
ABOUT = {
    "taken": "2026-01-01T00:00:00+00:00",
    "rounds": 1,
    "quick": True,
    "load_average": (0.5, 0.25, 0.1),
    "machine": {"cpu": "a processor", "cores": 2, "os": "Linux"},
    "versions": {"litellm": "1.106.2"},
}


def read(case: Case) -> Stream:
    stream = Stream(0.0)
    for piece in case.pieces:
        stream.take(event(delta(case.place, piece)), 1.0)
    return stream


def measured(p50: float, *, streams: int = 200, late: float = 1.0) -> Measured:
    sample = Sample(Load(1000, 2.0, 9.0, 9.0, 0, 0), Load(100, 1.0, p50, p50 * 2, 0, 0), {"gateway": 3.0})
    crowd = Paced(streams, 1000, p50 * 10, p50, p50 * 2, late, 50.0, [])
    leaks = {place: Leaks(21, 3, 1) for place in PLACES}
    return Measured([sample], [Prompts(3, p50 * 100, [])], [crowd], leaks, peaks={"gateway": 100.0})


def peer(**more: object) -> PeerRun:
    found = peer_run("a peer", "all it has", measured(2.0, **more), measured(0.5))  # type: ignore[arg-type]
    return msgspec.structs.replace(found, overshoot=budget.overshoot([200] * 16 + [429] * 4, [429]))


def test_every_case_has_the_address_once_cut_everywhere_in_both_places() -> None:
    for place in PLACES:
        found = [case for case in cases() if case.place == place]
        assert {len(case.pieces) for case in found} == {3, 4, len("".join(found[0].pieces))}
        assert len({case.pieces for case in found}) == len(ADDRESS) + 1
        assert all("".join(case.pieces).count(ADDRESS) == 1 for case in found)


@pytest.mark.parametrize("case", cases()[:: len(ADDRESS) // 2], ids=lambda case: case.place)
def test_what_a_caller_reads_of_an_unfiltered_stream_is_the_whole_answer(case: Case) -> None:
    stream = read(case)
    assert "".join(stream.content if case.place == "content" else stream.arguments) == "".join(case.pieces)


def test_an_address_that_could_be_read_is_a_leak_also_where_the_answer_broke_off() -> None:
    seen = [(f"write to {ADDRESS}", True), (f"write to {ADDRESS[:10]}", False), ("write to <EMAIL>", True), ("wri", False)]
    assert count(seen) == Leaks(answers=4, leaked=2, broken=1)


@pytest.mark.parametrize("size", [1, 3, 1000])
def test_an_answer_is_read_however_it_is_cut(size: int) -> None:
    whole, answer = HEAD + b"5\r\nhello\r\n7;x=y\r\n, there\r\n0\r\n\r\n", Answer()
    body = b"".join(answer.feed(whole[at : at + size]) for at in range(0, len(whole), size))
    assert (answer.status, body, answer.ended) == (200, b"hello, there", True)


def test_an_answer_with_a_length_ends_there() -> None:
    answer = Answer()
    assert answer.feed(b"HTTP/1.1 429 Too Many\r\nContent-Length: 4\r\n\r\nwai") == b"wai"
    assert not answer.ended
    assert answer.feed(b"t") == b"t"
    assert (answer.status, answer.ended) == (429, True)


def test_words_arrive_when_their_end_does() -> None:
    stream = Stream(1.0)
    for at, text in ((2.0, "The wa"), (3.0, "ter of "), (4.0, "the river ")):
        stream.take(event({"content": text}), at)
    assert stream.arrived == [2.0, 3.0, 3.0, 4.0, 4.0]
    assert stream.problem
    stream.take(b"data: [DONE]", 5.0)
    assert not stream.problem


def test_a_crowds_delays_are_from_the_models_write_to_the_callers_read() -> None:
    seen = {name: Stream(0.0, [0.5, 1.01, 2.03], problem="") for name in ("a", "b")}
    found = figures(seen, {"a": [0.1, 1.0, 2.0], "b": [0.1, 1.0, 2.0]}, cpu=0.6)
    assert (found.streams, found.events, found.first_ms, found.p50_ms, found.last_ms) == (2, 4, 500.0, 20.0, 30.0)
    assert found.cpu_us == 100_000.0
    assert found.held


@pytest.mark.parametrize(
    "stream",
    [
        Stream(0.0, [0.1, 0.2, 0.9], problem=""),
        Stream(0.0, [0.1, 0.2], problem=""),
        Stream(0.0, [0.1, 0.2, 0.3], problem="status 500"),
    ],
    ids=["late", "short", "broken"],
)
def test_a_crowd_is_not_held_when_its_last_events_are_late_or_missing(stream: Stream) -> None:
    assert not figures({"a": stream}, {"a": [0.1, 0.2, 0.3]}, cpu=0.0).held


def test_a_budget_is_overshot_by_what_is_answered_beyond_it() -> None:
    assert budget.overshoot([200] * 10 + [429] * 10, [429]).over == 0.0
    assert budget.overshoot([200] * 20, [200, 429]).over == 1.0
    assert budget.overshoot([200] * 10 + [500] * 10, [429]).problems == ["10 answers had status 500"]
    assert budget.overshoot([200] * 20, [200] * 20).problems == ["it refused nothing"]


def test_the_budgets_prompt_has_the_tokens_that_the_model_says() -> None:
    found = read_call(Endpoint.CHAT, dict(chat(budget.PROMPT))).prompt
    assert found.overhead + sum(map(int, toktok.batch_count(list(found.texts), "o200k_base"))) == budget.USAGE_IN


def test_the_budget_is_the_same_for_all() -> None:
    tight = (ROOT / "tests" / "bench" / "peers" / "tight.yaml").read_text()
    limit = re.search(r"limit: {usd: ([\d.]+)}", tight)
    assert limit and float(limit[1]) == pytest.approx(budget.LIMIT_USD)
    assert f"max_budget: {budget.LIMIT_USD:.6f}" in litellm.config("http://u", "k", budget=budget.LIMIT_USD)


def test_a_row_has_what_the_gateway_adds() -> None:
    run = peer()
    assert (run.added_p50_ms, run.added_p99_ms, run.prompt_added_ms, run.cpu_s_per_1000) == (1.5, 3.0, 150.0, 3.0)
    assert run.streamed == Streamed(200, 15.0, 1.5, 3.0, 50.0)
    assert peer(late=900.0).streamed == Streamed(0, 15.0, 1.5, 3.0, 50.0)


def test_a_row_has_the_members_of_the_benchs_runs() -> None:
    found = json.loads(msgspec.json.encode(peer()))
    assert {"name", "rps", "p50_ms", "p99_ms", "cpu_s_per_1000", "rss_mb", "valid", "problems", "rounds"} <= found.keys()
    assert found["overshoot"]["answered"] == 16


def test_the_table_has_a_cell_for_each_figure_and_says_what_is_missing() -> None:
    lines = table.render([peer()], [Missing("another", "there is no Node")], ABOUT).splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| a")]
    assert rows[0][:6] == ["a peer", "500", "1.50", "3.00", "3.00", "100"]
    assert rows[0][6:] == [
        "200",
        "15.0",
        "1.5",
        "3.0",
        "50",
        "150",
        "55% (16 of 20, then 0)",
        "3 of 21, 1 broken",
        "3 of 21, 1 broken",
    ]
    assert len(rows[0]) == len(rows[1]) == len(table.HEADS)
    assert "- another: there is no Node." in lines
    assert "| a peer | all it has |" in lines


def test_the_table_stands_between_its_marks(tmp_path: Path) -> None:
    page = tmp_path / "peers.md"
    page.write_text(f"before\n{table.BEGIN}\nold\n{table.END}\nafter\n")
    for figures_now in ("one", "two"):
        table.replace(page, figures_now)
    assert page.read_text() == f"before\n{table.BEGIN}\n\ntwo\n\n{table.END}\nafter\n"
    page.write_text("nothing")
    with pytest.raises(table.NoPlaceError, match=r"peers\.md has no lines"):
        table.replace(page, "three")


def test_the_page_has_every_row() -> None:
    page = (ROOT / "docs" / "peers.md").read_text("utf-8")
    assert [name for name in (*(row.name for row in ROWS), *UNAVAILABLE) if f"\n| {name} " not in page] == []
    assert DIRECT not in ROWS


def test_everything_is_pinned_with_its_hash() -> None:
    for pins in (environment.PINS / "requirements").glob("*.txt"):
        entries = re.split(r"\n(?=\S)", pins.read_text().strip())
        assert all(re.match(r"[\w.-]+==\S+ .*\n +--hash=sha256:", entry) for entry in entries)
    assert environment.pinned()["litellm"] == "1.106.2"
    lock = json.loads((environment.PINS / "portkey" / "package-lock.json").read_text())
    assert all("integrity" in package for name, package in lock["packages"].items() if name)


@pytest.mark.parametrize(
    ("streams", "late", "wanted"),
    [(200, [1, 2, 3], 0), (200, [1, HELD_MS + 1, 3], 100), (5, [HELD_MS + 1], 0), (20, [HELD_MS + 1], 5)],
)
def test_a_crowd_that_is_not_held_each_time_is_followed_by_the_next_smaller_one(
    streams: int, late: list[float], wanted: int
) -> None:
    assert smaller([Paced(streams, 1000, 1.0, 1.0, 2.0, each, 50.0, []) for each in late]) == wanted


def test_peaks_are_the_largest_of_all_phases() -> None:
    assert latest({"gateway": 10.0}, {"gateway": 9.0, "presidio": 5.0}) == {"gateway": 10.0, "presidio": 5.0}


def test_prompts_are_of_their_size_and_no_two_alike() -> None:
    made = {prompts.prompt(random.Random(seed)) for seed in range(3)}
    assert {len(one) for one in made} == {prompts.SIZE}
    assert len(made) == 3
    assert letters(27) == "bb"


def test_the_page_has_what_ours_is_by_each_other_row() -> None:
    ours = msgspec.structs.replace(peer(), name="headrace", rps=1_000.0, cpu_s_per_1000=0.5)
    other = msgspec.structs.replace(peer(), rps=40.0, cpu_s_per_1000=10.0)
    found = table.render([ours, msgspec.structs.replace(ours, name="headrace, prompts only"), other], [], ABOUT)
    assert "- a peer: 25.0 times its requests/s, 0.050 of its CPU for a request" in found
    assert found.count("times its requests/s") == 1
    assert "times its requests/s" not in table.render([other], [], ABOUT)
