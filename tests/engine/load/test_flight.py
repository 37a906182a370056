"""What runs on a server takes more of its cache before it takes less: how much, as far as this worker can know."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.ext_proc.core.effects import Record
from headrace.ext_proc.engine.load.board import Board, Need
from headrace.ext_proc.engine.load.choice import NoServer, order
from headrace.ext_proc.engine.load.flight import PLACED, Flight, Sent, growth
from headrace.ext_proc.engine.load.lengths import KEPT, MODELS, SEEN, Lengths
from headrace.ext_proc.engine.load.metrics import Snapshot
from headrace.ext_proc.engine.load.watching import Watching


def running(number: int, used: int, waiting: int = 0) -> Snapshot:
    return Snapshot(number, waiting, used / 10_000, 10_000)


def sent(number: int, prompt: int, answer: int, *lengths: int) -> list[Sent]:
    return [Sent(0, prompt, answer, lengths) for _ in range(number)]


CASES = [
    ("nothing of ours runs", [], running(5, 900), 0),
    ("answers that go on to their caps", sent(4, 100, 50), running(4, 400), 4 * 50),
    ("half written", sent(4, 100, 50), running(4, 500), 4 * 25),
    ("set aside at the beginning", sent(4, 100, 50), running(4, 600), 0),
    ("others' are taken to be like ours", sent(2, 100, 50), running(4, 400), 4 * 50),
    ("more than are looked at", sent(64, 100, 50), running(64, 6400), 64 * 50),
    ("half end at 10", sent(4, 100, 50, 10, 50), running(4, 400), 4 * 10),
    ("half end at 30, the others hold more at 90", sent(4, 10, 90, 30, 90), running(4, 40), 2 * 100 - 4 * 10),
    ("longer than any was", sent(4, 100, 50, 10, 20), running(4, 500), 4 * 25),
    ("one of two waits", sent(2, 100, 50), running(1, 100, waiting=1), 50 + 150),
    ("prompts that share a prefix", sent(4, 100, 50), running(4, 150), 4 * 50),
    ("a server that does not say its size", sent(4, 100, 50), Snapshot(4, 0, 0.5), 0),
    ("nor what is in use", sent(4, 100, 50), Snapshot(4, 0, None, 10_000), 0),
]


@pytest.mark.parametrize(("known", "snapshot", "tokens"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_the_way_to_the_peak(known: list[Sent], snapshot: Snapshot, tokens: int) -> None:
    assert growth(known, snapshot, 1000) == pytest.approx(tokens, abs=1)


def test_older_answers_have_written_more_and_are_nearer_their_end() -> None:
    """150 tokens are written: 100 by the older one, which ends there; the younger one takes its other 50."""
    known = [Sent(0, 100, 100, ()), Sent(500, 100, 100, ())]
    assert growth(known, running(2, 350), 1000) == 0
    assert growth(known, running(2, 260), 1000) == 2 * 60


sizes = st.integers(0, 5000)
flights = st.lists(st.builds(Sent, st.integers(0, 3000), sizes, sizes, st.lists(sizes, max_size=9).map(sorted)), max_size=40)
counts = st.integers(0, 99)
snapshots = st.builds(
    Snapshot, st.integers(0, 99), st.integers(0, 99), st.none() | st.floats(0, 1), st.none() | st.integers(1, 10**6)
)


@given(flights, snapshots)
def test_it_is_never_less_than_nothing_nor_more_than_all_caps(known: list[Sent], snapshot: Snapshot) -> None:
    most = max((one.prompt + one.answer for one in known), default=0) * (snapshot.running + snapshot.waiting)
    assert 0 <= growth(known, snapshot, 2000) <= most + 1


def test_those_that_have_ended_are_the_oldest_but_what_is_on_its_way_stays() -> None:
    flight = Flight()
    flight.since.extend(Sent(at, 10, 1, ()) for at in (1, 2, 3, 990))
    flight.read(running(1, 10), 1000, 250)
    assert ([one.at_ms for one in flight.known], len(flight.since)) == ([990], 0)
    flight.read(running(0, 0), 1250, 250)
    assert [one.at_ms for one in flight.known] == []


def test_what_is_remembered_has_an_end() -> None:
    flight = Flight()
    for _ in range(2):
        flight.since.extend(Sent(1, 1, 1, ()) for _ in range(PLACED + 5))
        flight.read(running(10**6, 0), 2, 250)
    assert len(flight.known) == PLACED


def test_a_server_whose_answers_will_fill_it_gets_no_more() -> None:
    board = Board(interval_ms=1000)
    board.follow(["a"])
    board.read("a", running(0, 0), 0)
    for _ in range(8):
        board.place("a", Need(1000, answer=900), 10)
    board.read("a", running(8, 800), 1000)
    assert order(board, ["a"], Need(2001), 1000, max_queue=0) is NoServer.BUSY
    assert order(board, ["a"], Need(2000), 1000, max_queue=0) == ["a"]
    board.read("a", running(2, 200), 2000)
    assert order(board, ["a"], Need(8000), 2000, max_queue=0) == ["a"]


def told(tokens: object, kind: str = "settlement", **members: object) -> Record:
    return Record(kind, {"model": "m", "usage": {"output_tokens": tokens}, **members})


def test_the_last_answers_of_a_model_are_known_in_order_of_size() -> None:
    lengths = Lengths()
    for tokens in range(SEEN, 0, -1):
        assert lengths.of("m") == ()
        lengths.observe(told(tokens))
    assert lengths.of("m") == tuple(range(1, SEEN + 1))
    for _ in range(KEPT):
        lengths.observe(told(5))
    assert lengths.of("m") == (5,) * KEPT


@pytest.mark.parametrize(
    "record",
    [
        told(None),
        told(0),
        told("7"),
        told(7, model=None),
        told(7, usage=None),
        told(7, kind="decision", reserved={}),
    ],
)
def test_what_says_no_length_is_passed_over(record: Record) -> None:
    lengths = Lengths()
    for _ in range(SEEN):
        lengths.observe(record)
    assert lengths.of("m") == ()


def test_a_decision_without_a_settlement_tells_its_usage_itself() -> None:
    lengths = Lengths()
    for _ in range(SEEN):
        lengths.observe(Record("decision", {"metadata": {"model": "m"}, "usage": {"output_tokens": 3}}))
    assert lengths.of("m") == (3,) * SEEN


def test_no_more_models_are_remembered_than_there_are() -> None:
    lengths = Lengths()
    for number in range(MODELS + 1):
        for _ in range(SEEN):
            lengths.learn(f"m{number}", 1)
    assert (lengths.of("m0"), lengths.of(f"m{MODELS}")) == ((), (1,) * SEEN)


def test_a_board_learns_where_servers_are_followed_and_who_only_looks_on_knows_it_too() -> None:
    board = Board(250)
    for servers in ([], ["a"]):
        board.follow(servers)
        for _ in range(SEEN):
            board.observe(told(4))
    assert Watching(board).lengths.of("m") == (4,) * SEEN
