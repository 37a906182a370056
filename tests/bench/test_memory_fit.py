"""The simulated pools do run out of memory, and never with memory fit on."""

import pytest

from tests.bench.memory_fit import MEMORY, Job, by_memory_fit, by_prompt_size, fleet, round_robin, run, traffic


def test_memory_fit_alone_never_runs_out() -> None:
    jobs = traffic(300)
    found = {route: run(jobs, route) for route in (by_memory_fit, by_prompt_size, round_robin)}
    assert (found[by_memory_fit]["answered"], found[by_memory_fit]["out_of_memory"]) == (300, 0)
    for other in (by_prompt_size, round_robin):
        assert found[other]["out_of_memory"] > 0
        assert found[other]["answered"] + found[other]["out_of_memory"] == 300


def test_a_server_starts_what_its_blocks_hold_and_no_more() -> None:
    server = fleet()[0][0]
    half = Job(MEMORY[0].most // 2, 16, 16)
    server.waiting.extend([(half, 0), (half, 1), (half, 2)])
    assert [caller for _, caller in server.start()] == [0]
    server.end(half)
    assert server.free == server.memory.room
    assert [caller for _, caller in server.start()] == [1]


@pytest.mark.parametrize(("tokens", "failed"), [(MEMORY[0].most, 0), (MEMORY[0].most + 1, 1)])
def test_it_is_out_of_memory_above_what_the_arithmetic_says(tokens: int, failed: int) -> None:
    only_small = run([Job(tokens - 32, 32, 32)], lambda pools: lambda job, now: pools[0][0])
    assert (only_small["out_of_memory"], only_small["answered"]) == (failed, 1 - failed)
