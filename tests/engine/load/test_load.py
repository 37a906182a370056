"""The servers' metrics by the engines' own names, what is known of them between two readings, and the order they are asked in."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.ext_proc.engine.load.board import STALE_AFTER, WARM_MS, Board, Heard, Need
from headrace.ext_proc.engine.load.choice import NoServer, order
from headrace.ext_proc.engine.load.metrics import NAMES, Engine, MetricsError, Snapshot, snapshot
from headrace.ext_proc.engine.load.scrape import MAX_EXPOSITION, Scraper, Target
from tests.envoy.stub_upstream import Received, Reply, StubUpstream
from tests.filters.compiled import ManualClock

SAMPLES = Path(__file__).parent / "metrics"
SAID = {
    "vllm": Snapshot(7, 2, 0.4375, 27871 * 16),
    "sglang": Snapshot(162, 2826, 0.28, 442353),
    "tensorrt-llm": Snapshot(5, 1, 0.4875, 6250 * 64),
    "llama.cpp": Snapshot(1, 3),
}
NEED = Need(100)
IDLE = Snapshot(0, 0, 0.0, 1000)


@pytest.mark.parametrize("engine", NAMES)
def test_each_engines_own_exposition_is_read(engine: Engine) -> None:
    assert snapshot((SAMPLES / f"{engine}.txt").read_text(), engine) == SAID[engine]


@pytest.mark.parametrize("engine", NAMES)
@pytest.mark.parametrize("text", ["", "<html>", "vllm:num_requests_running{ 1", "\0"])
def test_what_is_no_exposition_of_the_engine_is_an_error(engine: Engine, text: str) -> None:
    with pytest.raises(MetricsError, match="no metrics of"):
        snapshot(text, engine)


@pytest.mark.parametrize("value", ["NaN", "+Inf", "-1"])
def test_a_value_that_is_no_amount_is_an_error(value: str) -> None:
    with pytest.raises(MetricsError, match="no amount"):
        snapshot(f"vllm:num_requests_running {value}\nvllm:num_requests_waiting 0\n", "vllm")


@pytest.mark.parametrize("said", ["None", "-1", "1e3", "9" * 400, ""])
def test_a_size_of_the_cache_that_is_none_is_not_known(said: str) -> None:
    queue = "vllm:num_requests_running 1\nvllm:num_requests_waiting 0\n"
    sizes = f'vllm:cache_config_info{{block_size="16",num_gpu_blocks="{said}"}} 1\n'
    assert snapshot(queue + sizes, "vllm") == Snapshot(1, 0)


def test_several_workers_on_one_port_are_summed_up_and_the_fullest_cache_counts() -> None:
    text = "".join(
        f'vllm:num_requests_running{{engine="{n}"}} 1\nvllm:num_requests_waiting{{engine="{n}"}} {n}\n'
        f'vllm:gpu_cache_usage_perc{{engine="{n}"}} 0.{n}\n'
        for n in (2, 3)
    )
    assert snapshot(text, "vllm") == Snapshot(2, 5, 0.3)


def board(**servers: Snapshot) -> Board:
    found = Board(interval_ms=1000)
    found.follow(servers)
    for name, said in servers.items():
        found.read(name, said, 0)
    return found


def test_the_shortest_queue_comes_first_then_the_emptiest_cache() -> None:
    found = board(a=Snapshot(0, 3, 0.1), b=Snapshot(0, 0, 0.6), c=Snapshot(0, 0, 0.2))
    assert order(found, ["a", "b", "c"], NEED, 0, max_queue=5) == ["c", "b", "a"]


def test_what_was_placed_since_the_metrics_were_read_counts_until_they_are_read_again() -> None:
    found = board(a=IDLE, b=IDLE)
    found.place("a", Need(300), 5)
    assert order(found, ["a", "b"], NEED, 6, max_queue=0) == ["b", "a"]
    found.read("a", Snapshot(0, 0, 0.0, 1000), 10)
    found.place("b", NEED, 11)
    assert order(found, ["a", "b"], NEED, 12, max_queue=0) == ["a", "b"]


def test_a_server_that_would_overflow_is_passed_over() -> None:
    found = board(a=Snapshot(1, 0, 0.91, 1000), b=Snapshot(50, 0, 0.5, 1000))
    assert order(found, ["a", "b"], NEED, 0, max_queue=0) == ["b"]


def test_a_prediction_may_take_all_of_a_cache_and_not_a_token_more() -> None:
    """What an engine says of itself is another matter: beyond 95 % it throws away what it has computed."""
    found = board(a=Snapshot(1, 0, 0.5, 1000))
    assert order(found, ["a"], Need(500), 0, max_queue=0) == ["a"]
    assert order(found, ["a"], Need(501), 0, max_queue=0) is NoServer.BUSY
    found.read("a", Snapshot(1, 0, 0.96, 1000), 1)
    assert order(found, ["a"], Need(1), 1, max_queue=0) is NoServer.BUSY


def test_where_all_are_too_small_even_idle_waiting_is_of_no_use() -> None:
    found = board(a=Snapshot(1, 9, 0.9, 1000), b=Snapshot(0, 0, 0.0, 2000))
    assert order(found, ["a", "b"], Need(2001), 0, max_queue=0) is NoServer.SMALL
    assert order(found, ["a", "b"], Need(2000), 0, max_queue=0) == ["b"]
    assert order(found, ["a"], Need(1000), 0, max_queue=0) is NoServer.BUSY


def test_stale_metrics_are_as_full_as_none() -> None:
    found = board(a=IDLE, b=IDLE)
    now = STALE_AFTER * 1000 + 1
    found.read("b", IDLE, now)
    assert order(found, ["a", "b", "never"], NEED, now, max_queue=0) == ["b"]
    assert order(found, ["a", "never"], NEED, now, max_queue=0) is NoServer.NONE
    assert order(found, [], NEED, now, max_queue=0) is NoServer.NONE


def test_where_all_are_full_they_are_busy() -> None:
    found = board(a=Snapshot(0, 4), b=Snapshot(0, 0, 0.99))
    assert order(found, ["a", "b"], NEED, 0, max_queue=3) is NoServer.BUSY


def test_a_conversation_stays_where_it_is_warm_unless_that_server_is_busy() -> None:
    found = board(a=Snapshot(9, 0, 0.5, 1000), b=IDLE)
    talk = Need(1, "talk")
    found.place("a", talk, 0)
    assert order(found, ["b", "a"], talk, 1, max_queue=3) == ["a", "b"]
    assert order(found, ["b", "a"], Need(1, "other"), 1, max_queue=3) == ["b", "a"]
    found.read("a", Snapshot(9, 1, 0.5, 1000), 2)
    assert order(found, ["b", "a"], talk, 3, max_queue=3) == ["b", "a"]


def test_a_conversation_is_warm_where_it_was_answered_not_where_it_was_sent() -> None:
    found = board(a=IDLE, b=IDLE)
    found.place("a", Need(1, "talk"), 0)
    found.answered("b", "talk", 1)
    found.answered("stranger", "talk", 2)
    found.answered("a", "unheard of", 2)
    assert (found.warm("talk", 3), found.warm("unheard of", 3)) == ("b", None)


def test_warmth_ends() -> None:
    found = board(a=IDLE)
    found.place("a", Need(1, "talk"), 0)
    assert found.warm("talk", WARM_MS) == "a"
    assert found.warm("talk", WARM_MS + 1) is None


snapshots = st.builds(Snapshot, st.integers(0, 9), st.integers(0, 9), st.none() | st.floats(0, 1), st.none() | st.integers(1, 9999))


@given(st.dictionaries(st.text(max_size=3), snapshots, max_size=6), st.integers(0, 9), st.integers(1, 9999))
def test_an_order_names_servers_that_are_not_full_and_each_once(servers: dict[str, Snapshot], max_queue: int, tokens: int) -> None:
    found = board()
    found.follow(servers)
    for name, said in servers.items():
        found.read(name, said, 0)
    chosen = order(found, list(servers), Need(tokens), 0, max_queue)
    if isinstance(chosen, NoServer):
        return
    assert len(set(chosen)) == len(chosen) > 0
    assert all(servers[name].waiting <= max_queue for name in chosen)


@contextlib.asynccontextmanager
async def scraped(answer: bytes) -> AsyncIterator[tuple[Board, StubUpstream]]:
    """A server that exposes `answer`, and what is known of it once it has been asked three times."""
    thrice = asyncio.Event()
    async with StubUpstream("server") as server:

        async def expose(_: Received, reply: Reply) -> None:
            await reply.whole(answer, "text/plain")
            if len(server.received) == 3:
                thrice.set()

        server.answer = expose
        found = Board(interval_ms=200)
        scraper = Scraper(found, ManualClock())
        scraper.follow({"a": Target(f"{server.url}/metrics", "vllm")})
        task = asyncio.create_task(scraper.run())
        async with asyncio.timeout(20):
            await thrice.wait()
        yield found, server
        task.cancel()
        await asyncio.wait([task])


async def test_a_server_is_read_again_and_again() -> None:
    async with scraped((SAMPLES / "vllm.txt").read_bytes()) as (found, server):
        state = found.state("a", Need(0), ManualClock().now_ms())
        assert state is not None
        assert (state.queue, state.cache) == (2, 0.4375)
        assert {request.path for request in server.received} == {"/metrics"}


@pytest.mark.parametrize("answer", [b"nonsense", b"x" * (MAX_EXPOSITION + 1)])
async def test_what_cannot_be_read_leaves_the_server_full(answer: bytes, caplog: pytest.LogCaptureFixture) -> None:
    async with scraped(answer) as (found, _):
        assert found.state("a", Need(0), ManualClock().now_ms()) is None
    assert [record.message for record in caplog.records].count("metrics are not read: the server counts as full") == 1


def test_what_was_heard_last_is_told_with_its_age() -> None:
    board = Board(1000)
    board.follow(["a", "b"])
    board.read("a", Snapshot(3, 7, 0.5), 10_000)
    assert board.heard(10_000 + STALE_AFTER * 1000) == {"a": Heard(3, 7, 0.5, 10_000, stale=False), "b": None}
    assert board.heard(10_001 + STALE_AFTER * 1000)["a"] == Heard(3, 7, 0.5, 10_000, stale=True)
