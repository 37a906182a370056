"""Engines whose caches fill while answers are written throw requests out, and fewer where the growth of what runs is foreseen."""

from tests.bench.cache_growth import CAPACITY, Engine, Job, measure


def test_fewer_requests_are_thrown_out_and_no_fewer_are_answered() -> None:
    found = measure(700, 7, "extractions")
    assert 0 < found["product"]["thrown_out"] < found["blind"]["thrown_out"] / 2
    assert found["product"]["answers_per_second"] > 0.9 * found["blind"]["answers_per_second"]
    assert found["reserving"]["thrown_out"] == 0


def test_chats_are_not_held_back_by_caps_that_they_do_not_reach() -> None:
    found = measure(700, 7, "chats")
    assert found["product"]["answers_per_second"] > 0.95 * found["blind"]["answers_per_second"]


def test_a_server_throws_out_the_youngest_when_answers_have_filled_it() -> None:
    engine = Engine("a")
    old, young = Job(CAPACITY // 2, 99, 99), Job(CAPACITY // 2 - 5, 99, 99)
    engine.waiting.extend([old, young])
    while not engine.thrown_out:
        assert engine.step() == []
    assert (engine.thrown_out, list(engine.waiting), engine.running) == (1, [young], [old])
