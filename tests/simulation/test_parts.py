"""The simulation's own parts: what they say must be right before what they find can be."""

import asyncio
from itertools import repeat

import pytest

from headrace.ext_proc.core.ledger import HELD, Admitted, Charge, Closed, Closing, Exhausted, Fixed, Sliding
from tests.simulation.books import Books, Wrong, counter_of
from tests.simulation.chance import Chance, Lane, Trace, told
from tests.simulation.loop import OWNER, VirtualLoop
from tests.simulation.shrink import Shrinker
from tests.simulation.store import StoreServer

NOW = 1_795_000_000_000
MINUTE = Charge("team", "tokens", 100, 60, Fixed(NOW, NOW + 60_000))
SLIDING = Charge("team", "requests", 5, 1, Sliding(60_000))
RUNNING = Charge("team", "concurrency", 5, 1, HELD)
CHARGES = (MINUTE, SLIDING, RUNNING)


class Process:
    """Somebody who can die."""

    alive = True


def loop_of(seed: int = 1, limit: int = 1000) -> VirtualLoop:
    return VirtualLoop(Lane("order", seed, None), limit)


def driven(loop: VirtualLoop, main: "asyncio.Task[None]") -> None:
    main.add_done_callback(lambda _: loop.stop())
    loop.run_forever()


def test_time_passes_without_anybody_waiting() -> None:
    loop = loop_of()
    seen: list[float] = []

    async def main() -> None:
        await asyncio.sleep(86_400)
        seen.append(loop.time())

    driven(loop, loop.create_task(main()))
    loop.bury()
    assert seen and 86_400 <= seen[0] < 86_401


def test_what_is_dead_runs_no_further_and_is_buried() -> None:
    loop, process, heard = loop_of(), Process(), []

    async def work() -> None:
        try:
            while True:
                heard.append(loop.time())
                await asyncio.sleep(1)
        finally:
            heard.append(-1.0)

    async def main() -> None:
        OWNER.set(process)
        loop.create_task(work())
        OWNER.set(None)
        await asyncio.sleep(2.5)
        process.alive = False
        await asyncio.sleep(10)

    driven(loop, loop.create_task(main()))
    assert heard == [pytest.approx(at, abs=1) for at in (0, 1, 2)]
    loop.bury()
    assert heard[-1] == -1.0 and all(task.done() for task, _ in loop.tasks)


@pytest.mark.parametrize("pause", [0, 1])
def test_what_never_ends_is_stopped(pause: int) -> None:
    loop = loop_of(limit=500)

    async def main() -> None:
        for _ in repeat(None):
            await asyncio.sleep(pause)

    driven(loop, loop.create_task(main()))
    assert loop.endless
    loop.bury()


def test_what_waits_for_nothing_is_stopped() -> None:
    loop = loop_of()

    async def main() -> None:
        await loop.create_future()

    driven(loop, loop.create_task(main()))
    assert loop.endless
    loop.bury()


def test_choices_of_one_lane_do_not_change_those_of_another() -> None:
    whole, part = Chance(7), Chance(7)
    whole.lane("a").among(100, "which")
    assert [whole.lane("b").among(100, "which") for _ in range(9)] == [part.lane("b").among(100, "which") for _ in range(9)]


def test_a_trace_is_what_was_chosen_and_nothing_else_happens() -> None:
    drawn = Chance(7)
    values = [drawn.lane("a").pick(10, 0.5, "what") for _ in range(20)]
    assert 0 in values and any(values)
    kept = Chance(8, drawn.trace)
    assert [kept.lane("a").pick(10, 0.5, "what") for _ in range(20)] == values
    assert [kept.lane("b").pick(10, 1.0, "what") for _ in range(20)] == [0] * 20
    assert len(told(drawn.trace, drawn.words)) == len([value for value in values if value])


def test_shortening_leaves_what_is_needed() -> None:
    trace: Trace = {"a": dict.fromkeys(range(50), 3), "b": dict.fromkeys(range(50), 2), "c": {1: 1}}

    def fails(tried: Trace) -> bool:
        return tried.get("a", {}).get(17, 0) > 1 and 40 in tried.get("b", {})

    assert Shrinker(fails).shrunk(trace) == {"a": {17: 3}, "b": {40: 1}}
    spent = Shrinker(fails, runs=3)
    spent.shrunk(trace)
    assert spent.runs == 0


def test_books_hold_what_stands_reserved_and_what_was_settled() -> None:
    books = Books()
    books.reserved("o", "a", CHARGES, NOW, 600_000, Admitted((40, 4, 4)))
    books.reserved("o", "a", CHARGES, NOW, 600_000, Admitted((40, 4, 4)))
    books.reserved("o", "b", CHARGES, NOW, 600_000, Exhausted(0, (40, 4, 4), NOW + 60_000))
    counters = [counter_of("o", charge) for charge in CHARGES]
    assert [books.least(counter, NOW) for counter in counters] == [60, 1, 1]
    books.closed("o", [Closing("a", {"tokens": 7})], [Closed(True)])
    assert [books.least(counter, NOW) for counter in counters] == [7, 1, 0]
    assert books.least(counters[1], NOW + 60_000) == 0 and books.most(counters[1], NOW + 60_000) == 1
    assert books.most(counters[1], NOW + 61_000) == 0


def test_a_counter_that_nobody_named_is_looked_at_now_and_then() -> None:
    wrong: list[str] = []
    server = StoreServer(lambda: NOW, wrong.append)
    for name in ("a", "b"):
        server.do("reserve", name, name, CHARGES, now_ms=NOW, ttl_ms=600_000)
    server.audit_changes()
    for key, sums in server.memory._sums.items():
        if key[0] == "a":
            sums.update(dict.fromkeys(sums, 99))
    server.do("settle_many", "b", [Closing("b")], now_ms=NOW)
    server.audit_changes()
    assert not wrong
    server.audit_all()
    assert sorted(wrong) == [
        f"counter team of a in requests over {SLIDING.window} holds 99, not 1 to 1",
        f"counter team of a in tokens over {MINUTE.window} holds 99, not 60 to 60",
    ]


def test_books_tell_what_cannot_be() -> None:
    books = Books()
    books.reserved("o", "a", CHARGES, NOW, 600_000, Admitted((40, 4, 4)))
    with pytest.raises(Wrong, match="holds 120 of 100"):
        books.reserved("o", "b", CHARGES, NOW, 600_000, Admitted((40, 4, 4)))
    books.closed("o", [Closing("a")], [Closed(True)])
    with pytest.raises(Wrong, match="closed 2 times"):
        books.closed("o", [Closing("a")], [Closed(True)])
    with pytest.raises(Wrong, match="closed 3 times"):
        books.closed("o", [Closing("a", by="me")], [Closed(True)])
    with pytest.raises(Wrong, match="never reserved"):
        books.closed("o", [Closing("c")], [Closed(True)])
    with pytest.raises(Wrong, match="was not open"):
        books.extended("o", "a", {"tokens": 80}, NOW, 600_000, Admitted((20, 4, 4)))
