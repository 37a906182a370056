"""The service's machine has its wall clock put forward and back by an hour or a month: through real Envoy, as Python reads it."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.e2e.fleet import Fleet, fleet, policy_of
from tests.soak.faults.clock import SteppedClock
from tests.stores.servers import PLAIN, Server, free_ports

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.asyncio(loop_scope="module"),
]

MONTHS_S = 40 * 86_400
POLICY = policy_of([{"name": "month", "per": ["organisation"], "limit": {"requests": 1}, "window": "month"}], lease_seconds=60)


@pytest.fixture(scope="module")
def clock(tmp_path_factory: pytest.TempPathFactory) -> SteppedClock:
    """Of the service's processes alone."""
    return SteppedClock(Path(tmp_path_factory.mktemp("clock")))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    memory_alone = (*PLAIN, "--appendonly", "no")  # a disk that is busy holds up a server that writes to it
    server = Server(Path(tmp_path_factory.mktemp("valkey")), free_ports(1)[0], *memory_alone)
    server.start()
    yield server
    server.kill()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(store: Server, clock: SteppedClock) -> AsyncIterator[Fleet]:
    async with fleet(f"redis://127.0.0.1:{store.port}", POLICY, workers=1, environment=clock.environment) as running:
        yield running


@pytest.mark.parametrize("seconds", [MONTHS_S, -MONTHS_S])
async def test_no_window_is_spent_again_and_none_before_its_time(running: Fleet, clock: SteppedClock, seconds: int) -> None:
    organisation = f"windows{seconds}"
    assert (await running.chat(organisation)).status_code == 200
    clock.step(seconds)
    assert (await running.chat(organisation)).status_code == 429
    clock.right()
    assert (await running.chat(organisation)).status_code == 429


@pytest.mark.parametrize("seconds", [3601, -3601])
async def test_a_lease_is_settled_at_what_was_used(running: Fleet, clock: SteppedClock, seconds: int) -> None:
    """Its minute is over by the machine's clock when its answer ends."""
    organisation, before = f"leases{seconds}", len(running.pool.books.entries)
    asking = asyncio.create_task(running.chat(organisation, "tokens=4 pace=500"))
    await running.pool.books.until(lambda books: len(books.entries) > before)
    clock.step(seconds)
    (entry,) = await running.closed(organisation, [(await asking).headers["x-headrace-exchange"]])
    clock.right()
    assert (entry.members["outcome"], entry.members["output_tokens"]) == ("settled", "4")
