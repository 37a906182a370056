"""A primary that Sentinels watch dies under load: what was settled is in its replica, and nothing is charged twice."""

import asyncio
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace.ext_proc.core.ledger import Admitted
from headrace.ext_proc.stores import open_store
from tests.stores.servers import LOOPBACKS, SentinelServers, until
from tests.stores.test_cluster import admitted, check, closed, persistently


@pytest.fixture(scope="module", params=LOOPBACKS)
def sentinels(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SentinelServers]:
    servers = SentinelServers(Path(tmp_path_factory.mktemp("sentinels")), request.param)
    try:
        servers.start()
        yield servers
    finally:
        servers.stop()


async def test_a_failover_loses_no_settled_spend(sentinels: SentinelServers) -> None:
    """What is settled before, and what is asked for meanwhile."""
    store = open_store(f"{sentinels.url}?replicas=1")
    assert isinstance(await persistently(store, "acme", "lease-0"), Admitted)
    await closed(store, "acme", "lease-0")
    first = await admitted(store, "acme", range(1, 10))
    dying = sentinels.primary()
    load = asyncio.create_task(admitted(store, "acme", range(10, 200)))
    await asyncio.to_thread(dying.kill)
    try:
        await asyncio.to_thread(until, lambda: sentinels.primary() is not dying, "another primary")
        await asyncio.to_thread(sentinels.be_patient)
        # The promoted one has no replica now, so that no write counts as done before the other returns and follows it.
        await asyncio.to_thread(dying.start)
        dying.ask("REPLICAOF", "127.0.0.1", sentinels.primary().port)  # what Sentinels do too, ten seconds later
        await check(store, "acme", ["lease-0", *first, *await load])
    finally:
        load.cancel()
        await store.close()


async def test_a_sentinel_that_says_nothing_is_passed_over(sentinels: SentinelServers) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        first = f"127.0.0.1:{silent.getsockname()[1]}"
        store = open_store(sentinels.url.replace("redis+sentinel://", f"redis+sentinel://{first},"))
        assert isinstance(await persistently(store, "other", "lease"), Admitted)
        await store.close()
