"""What a request asks of the store, and what is admitted while there is none: through real Envoy and two worker processes."""

import asyncio
import contextlib
import os
import re
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from headrace.ext_proc.stores.link import COOL_DOWN_S
from tests.e2e.chaos import open_leases, tokens_of
from tests.e2e.fleet import Fleet, fleet, policy_of
from tests.e2e.site import until
from tests.stores.servers import PLAIN, Server, free_ports

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module")]

WORKERS, LIMIT, PERCENT = 2, 100, 5
SHARE = LIMIT * PERCENT // 100
BUDGETS = [
    {"name": "requests", "per": ["organisation"], "limit": {"requests": LIMIT}, "window": "month"},
    {"name": "tokens", "per": ["team"], "limit": {"tokens": 10**9}, "window": "month"},
]
POLICY = policy_of(BUDGETS, on_store_down="local", local_percent=PERCENT)
CALL = re.compile(rb'"FCALL" "headrace_[0-9a-f]+_(reserve|settle|extend|read)"')


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(Path(tmp_path_factory.mktemp("valkey")), free_ports(1)[0], *PLAIN, "--appendfsync", "always")
    server.start()
    yield server
    server.kill()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(store: Server) -> AsyncIterator[Fleet]:
    async with fleet(f"redis://127.0.0.1:{store.port}", POLICY, workers=WORKERS) as running:
        yield running


@contextlib.asynccontextmanager
async def monitored(store: Server) -> AsyncIterator[bytearray]:
    """Every command the server carries out, as its MONITOR writes them."""
    reader, writer = await asyncio.open_connection("127.0.0.1", store.port)
    writer.write(b"MONITOR\r\n")
    await reader.readline()
    heard = bytearray()

    async def listen() -> None:
        while data := await reader.read(65_536):
            heard.extend(data)

    listening = asyncio.create_task(listen())
    try:
        yield heard
    finally:
        listening.cancel()
        writer.close()


async def test_a_request_costs_one_call_to_the_store_and_its_settlement_another(running: Fleet, store: Server) -> None:
    async with monitored(store) as heard:
        for _ in range(5):
            answer = await running.chat("calls")
            await running.closed("calls", [answer.headers["x-headrace-exchange"]])
        calls = Counter({b"reserve": 5, b"settle": 5})

        async def all_heard() -> bool:
            return Counter(CALL.findall(heard)) >= calls

        await until(all_heard, "the calls")
    assert Counter(CALL.findall(heard)) == calls


async def test_an_answer_does_not_wait_for_its_settlement(running: Fleet, store: Server) -> None:
    """The store stands still from the time the pool has the request until the caller has the answer."""
    before = len(running.pool.books.entries)
    asking = asyncio.create_task(running.chat("settling", "tokens=4 pace=20"))
    await running.pool.books.until(lambda books: len(books.entries) > before)
    with standing_still(store):
        answer = await asking
        assert answer.status_code == 200
        assert answer.json()["usage"]["completion_tokens"] == 4
    (entry,) = await running.closed("settling", [answer.headers["x-headrace-exchange"]])
    assert (entry.members["outcome"], entry.members["output_tokens"]) == ("settled", "4")


@contextlib.contextmanager
def standing_still(store: Server) -> Iterator[None]:
    os.kill(store.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(store.pid, signal.SIGCONT)
        time.sleep(2 * COOL_DOWN_S)  # what a worker holds against a silent store is over then


async def test_while_the_store_is_away_workers_admit_their_allowance_and_a_dead_ones_is_lost(running: Fleet, store: Server) -> None:
    """Each worker has a share, and so has the one that takes a dead one's place; the store hears of all but the dead one's."""
    assert (await running.chat("outage")).status_code == 200  # both have met the store, or one of them
    await asyncio.to_thread(store.kill)
    try:
        assert await admitted(running, "outage") == WORKERS * SHARE
        dying = running.workers()[0]
        running.kill_worker(dying)
        await replaced(running, dying)
        assert await admitted(running, "outage") == SHARE
    finally:
        await asyncio.to_thread(store.start)
    await reconciled(running, store, 1 + WORKERS * SHARE)


async def admitted(running: Fleet, organisation: str) -> int:
    """Of more requests than all allowances hold, one after the other."""
    answers = [await running.chat(organisation) for _ in range(12 * WORKERS * SHARE)]
    assert {answer.status_code for answer in answers} <= {200, 503}
    return sum(answer.status_code == 200 for answer in answers)


async def replaced(running: Fleet, dead: int) -> None:
    async def ready() -> bool:
        serving = re.findall(r"^headrace_worker_ready.* 1.0$", await running.metrics(), re.MULTILINE)
        return dead not in running.workers() and len(serving) == await running.healthy_workers() == WORKERS

    await until(ready, "another worker")


async def reconciled(running: Fleet, store: Server, requests: int) -> None:
    """So many are in the counter; tokens are those of the ledger, and of leases that are not closed."""

    async def told() -> bool:
        return (await running.used("outage"))[0] == requests

    await until(told, "a store that knows what was admitted")
    records = [entry.members for entry in await running.ledger("outage") if entry.members["outcome"] != "released"]
    held = sum(tokens_of(record) for record in [*records, *open_leases(store, "outage")])
    assert (await running.used("outage"))[1] == held


@pytest.mark.parametrize(("mode", "status"), [("closed", 503), ("open", 200), ("local", 200)])
async def test_a_service_that_starts_in_an_outage_does_what_its_policy_says_until_the_store_is_back(
    tmp_path: Path, mode: str, status: int
) -> None:
    """And finds the store, which has none of its functions, as one that it met before."""
    server = Server(tmp_path, free_ports(1)[0], *PLAIN)
    async with fleet(f"redis://127.0.0.1:{server.port}", policy_of(BUDGETS, on_store_down=mode)) as running:
        assert (await running.chat("early")).status_code == status
        await asyncio.to_thread(server.start)
        try:
            await until(lambda: _counted(running), "a request that the store was asked for")
        finally:
            await asyncio.to_thread(server.kill)


async def _counted(running: Fleet) -> bool:
    answer = await running.chat("late")
    return answer.status_code == 200 and (await running.used("late"))[0] > 0
