"""Clusters and Sentinels that take TLS alone and want passwords: real Redis servers."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path
from urllib.parse import quote

import pytest

from headrace.ext_proc.core.ledger import Admitted
from headrace.ext_proc.core.ports import StoreUnavailable
from headrace.ext_proc.stores import open_store
from tests.envoy.h2.certificates import Authority
from tests.service.waiting import until
from tests.stores.servers import LOOPBACKS, NEEDS_REDIS, PASSWORD, SERVICE, ClusterServers, Secured, SentinelServers
from tests.stores.test_cluster import persistently

pytestmark = NEEDS_REDIS
SECRET = quote(PASSWORD, safe="")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(Path(tmp_path_factory.mktemp("authority")))


@pytest.fixture(scope="module", params=LOOPBACKS)
def cluster(
    request: pytest.FixtureRequest, authority: Authority, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ClusterServers]:
    folder = Path(tmp_path_factory.mktemp("cluster"))
    servers = ClusterServers(folder, request.param, partial(Secured, authority), ("--tls-cluster", "yes", "--masterauth", PASSWORD))
    try:
        servers.start()
        yield servers
    finally:
        servers.stop()


@pytest.fixture(scope="module", params=LOOPBACKS)
def sentinels(
    request: pytest.FixtureRequest, authority: Authority, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[SentinelServers]:
    folder = Path(tmp_path_factory.mktemp("sentinels"))
    watching = (f'sentinel auth-pass {SERVICE} "{PASSWORD}"', f'sentinel sentinel-pass "{PASSWORD}"')
    servers = SentinelServers(folder, request.param, partial(Secured, authority), ("--masterauth", PASSWORD), watching)
    try:
        servers.start()
        yield servers
    finally:
        servers.stop()


@pytest.fixture(autouse=True)
async def closed() -> AsyncIterator[None]:
    """Waits for the end of a test's connections: TLS takes its time to close one."""
    before = _descriptors()
    yield
    await until(lambda: _descriptors() <= before, "all connections were closed")


async def says(url: str) -> str:
    """Why the store at `url` cannot be used."""
    store = open_store(url, timeout_s=20)
    try:
        with pytest.raises(StoreUnavailable) as refused:
            await store.ping()
    finally:
        await store.close()
    return str(refused.value)


def _descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def test_all_nodes_of_a_cluster_are_reached(cluster: ClusterServers, authority: Authority) -> None:
    url = f"{cluster.url.replace('redis+cluster://', f'rediss+cluster://:{SECRET}@')}?ssl_ca_certs={authority.path}"
    store = open_store(url)
    try:
        answers = await asyncio.gather(*(persistently(store, f"org-{n}", "lease") for n in range(30)))
        assert all(isinstance(answer, Admitted) for answer in answers)
    finally:
        await store.close()


async def test_a_cluster_that_refuses_says_why(cluster: ClusterServers, authority: Authority) -> None:
    hosts = cluster.url.removeprefix("redis+cluster://")
    assert "none of 6 nodes of the cluster answers: " in await says(f"redis+cluster://:{SECRET}@{hosts}")
    assert "certificate verify failed" in await says(f"rediss+cluster://:{SECRET}@{hosts}")
    assert "invalid username-password pair" in await says(f"rediss+cluster://:wrong@{hosts}?ssl_ca_certs={authority.path}")


async def test_sentinels_are_asked_by_tls_with_a_password_of_their_own(sentinels: SentinelServers, authority: Authority) -> None:
    url = sentinels.url.replace("redis+sentinel://", f"rediss+sentinel://:{SECRET}@")
    store = open_store(f"{url}?ssl_ca_certs={authority.path}&sentinel_password={SECRET}")
    try:
        assert isinstance(await persistently(store, "acme", "lease"), Admitted)
    finally:
        await store.close()


async def test_sentinels_that_refuse_say_why(sentinels: SentinelServers, authority: Authority) -> None:
    plain, tls = sentinels.url, sentinels.url.replace("redis+sentinel://", f"rediss+sentinel://:{SECRET}@")
    assert "Authentication required" in await says(f"{tls}?ssl_ca_certs={authority.path}")
    assert "certificate verify failed" in await says(f"{tls}?sentinel_password={SECRET}")
    told = await says(f"{plain}?sentinel_password={SECRET}")
    assert all(str(sentinel.port) in told for sentinel in sentinels.sentinels)
    assert PASSWORD not in told
