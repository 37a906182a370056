"""A cluster of real servers: routing by slot, a slot that moves under load, a primary that dies under load."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from headrace.ext_proc.core.ledger import Admitted, Charge, Closing, Exhausted, Fixed
from headrace.ext_proc.core.ports import Store, StoreUnavailable
from headrace.ext_proc.stores import open_store
from headrace.ext_proc.stores.wire import ledger_key, roster_keys
from tests.stores.servers import DEADLINE_S, LOOPBACKS, ClusterServers, until

NOW = 1_795_000_000_000
DAY = Fixed(NOW, NOW + 86_400_000)
LEVELS = [Charge(level, "requests", limit, 1, DAY) for level, limit in (("org", 23), ("team", 40), ("user", 31))]


@pytest.fixture(scope="module", params=LOOPBACKS)
def cluster(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterServers]:
    servers = ClusterServers(Path(tmp_path_factory.mktemp("cluster")), request.param)
    try:
        servers.start()
        yield servers
    finally:
        servers.stop()


@pytest.fixture
def organisation() -> str:
    return f"org-{uuid4()}"


async def persistently(store: Store, organisation: str, lease: str) -> Admitted | Exhausted:
    """The answer, once the store gives one: as a caller who repeats the same request."""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            try:
                return await store.reserve(organisation, lease, LEVELS, now_ms=NOW, ttl_ms=3_600_000)
            except StoreUnavailable:
                await asyncio.sleep(0.02)


async def closed(store: Store, organisation: str, lease: str) -> None:
    closing = Closing(lease, {"requests": 1}, {"exchange": lease})
    async with asyncio.timeout(DEADLINE_S):
        while True:
            try:
                await store.settle_many(organisation, [closing], now_ms=NOW)
                return
            except StoreUnavailable:
                await asyncio.sleep(0.02)


async def admitted(store: Store, organisation: str, leases: range) -> list[str]:
    answers = await asyncio.gather(*(persistently(store, organisation, f"lease-{n}") for n in leases))
    return [f"lease-{n}" for n, answer in zip(leases, answers, strict=True) if isinstance(answer, Admitted)]


async def check(store: Store, organisation: str, leases: list[str]) -> None:
    """Exactly 23 were let in; what is settled is in every counter and, once each, in the ledger."""
    assert len(leases) == 23
    for lease in leases:
        await closed(store, organisation, lease)
    assert await store.read(organisation, LEVELS, now_ms=NOW) == (23, 23, 23)
    assert sorted(entry.members["exchange"] for entry in await store.entries(organisation)) == sorted(leases)


async def test_a_roster_is_of_one_slot_whichever_node_has_it(cluster: ClusterServers) -> None:
    store, rosters = open_store(cluster.url), [f"{uuid4()}{{x}}" for _ in range(8)]
    try:
        assert len({cluster.owner(roster_keys(roster)[0]).port for roster in rosters}) > 1
        for roster in rosters:
            assert [await store.enrol(roster, id, b"v") for id in ("a", "b")] == [1, 2]
            assert await store.enrol(roster, "a", b"w", revision=1) == 3
            assert [one.id for one in await store.listed_since(roster, 1)] == ["b", "a"]
    finally:
        await store.close()


async def test_organisations_live_on_all_nodes(cluster: ClusterServers) -> None:
    store = open_store(cluster.url)
    names = [f"org-{n}" for n in range(30)]
    for name in names:
        assert isinstance(await persistently(store, name, "lease"), Admitted)
    assert {cluster.owner(ledger_key(name)).port for name in names} == {node.port for node in cluster.nodes[:3]}
    await store.close()


async def test_two_hundred_at_once_from_four_clients_are_let_in_exactly_as_the_tightest_budget_says(
    cluster: ClusterServers, organisation: str
) -> None:
    stores = [open_store(cluster.url) for _ in range(4)]
    parts = await asyncio.gather(*(admitted(store, organisation, range(50 * n, 50 * n + 50)) for n, store in enumerate(stores)))
    await check(stores[0], organisation, [lease for part in parts for lease in part])
    await asyncio.gather(*(store.close() for store in stores))


async def test_a_slot_that_moves_under_load_loses_nothing(cluster: ClusterServers, organisation: str) -> None:
    store, key = open_store(cluster.url), ledger_key(organisation)
    first = await admitted(store, organisation, range(10))
    before = cluster.owner(key)
    target = next(node for node in cluster.nodes[:3] if node is not before)
    _, more = await asyncio.gather(asyncio.to_thread(cluster.move, key, target), admitted(store, organisation, range(10, 200)))
    assert cluster.owner(key) is target
    await check(store, organisation, first + more)
    await store.close()


async def test_a_primary_that_dies_under_load_takes_nothing_with_it_that_a_replica_had(
    cluster: ClusterServers, organisation: str
) -> None:
    store, key = open_store(cluster.url + "?replicas=1"), ledger_key(organisation)
    first = await admitted(store, organisation, range(10))
    dying = cluster.owner(key)
    load = asyncio.create_task(admitted(store, organisation, range(10, 200)))
    await asyncio.to_thread(dying.kill)
    try:
        await asyncio.to_thread(until, lambda: cluster.owner(key) is not dying, "a promoted replica")
        # The promoted one has no replica now, so that no write counts as done before the other returns.
        await asyncio.to_thread(dying.start)
        await check(store, organisation, first + await load)
    finally:
        load.cancel()
        await store.close()
