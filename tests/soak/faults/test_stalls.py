"""A real Valkey that stands still, and goes on."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from redis.asyncio import Redis

from tests.soak.faults.stalls import busy, pause, stopped
from tests.stores.servers import PLAIN, Server, free_ports


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(Path(tmp_path_factory.mktemp("valkey")), free_ports(1)[0], *PLAIN)
    server.start()
    yield server
    server.kill()


@pytest.fixture
async def clients(server: Server) -> AsyncIterator[tuple[Redis, Redis]]:
    """Who stalls the store, and who suffers."""
    first, second = (Redis(port=server.port, socket_timeout=30) for _ in range(2))
    await asyncio.gather(first.ping(), second.ping())
    yield first, second
    await asyncio.gather(first.aclose(), second.aclose())


def state_of(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


async def test_a_stopped_process_goes_on_afterwards(server: Server, clients: tuple[Redis, Redis]) -> None:
    with stopped(server.pid):
        os.waitid(os.P_PID, server.pid, os.WSTOPPED)  # noqa: ASYNC222  it takes microseconds
        waiting = asyncio.ensure_future(clients[1].ping())
        await asyncio.sleep(0)
        assert state_of(server.pid) == "T"
        assert not waiting.done()
    assert await waiting


async def test_a_paused_store_answers_when_the_pause_is_over(clients: tuple[Redis, Redis]) -> None:
    staller, sufferer = clients
    loop = asyncio.get_running_loop()
    before = loop.time()
    await pause(staller, 0.3)
    await sufferer.set("key", 1)
    assert loop.time() - before >= 0.3


async def test_a_busy_store_answers_when_the_script_has_ended(clients: tuple[Redis, Redis]) -> None:
    staller, sufferer = clients
    script = asyncio.create_task(busy(staller, 0.3))
    await asyncio.sleep(0.1)  # the script has begun: a ping that overtakes it would show nothing, and pass all the same
    await sufferer.ping()
    await script


def test_a_process_that_has_ended_is_no_error() -> None:
    with stopped(2**22 - 1):
        pass
