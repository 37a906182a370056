"""Every store, each test in an organisation of its own."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from headrace.ext_proc.core.ports import Store
from headrace.ext_proc.stores.embedded import EmbeddedStore
from tests.patience import patient_store
from tests.stores.servers import LOOPBACK, NEEDS_REDIS, Plain, free_ports


@pytest.fixture(scope="session")
def valkey() -> Iterator[str]:
    """The URL of a server that the tests share and none of them flushes or stops."""
    with EmbeddedStore() as url:
        yield url


@pytest.fixture(scope="session")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """As `valkey`, of the oldest Redis that has functions."""
    server = Plain(Path(tmp_path_factory.mktemp("redis")), free_ports(1)[0])
    try:
        server.start()
        yield f"redis://{LOOPBACK}:{server.port}"
    finally:
        server.kill()


@pytest.fixture(params=["memory", "valkey", pytest.param("redis", marks=NEEDS_REDIS)])
async def store(request: pytest.FixtureRequest) -> AsyncIterator[Store]:
    url = "memory://" if request.param == "memory" else request.getfixturevalue(request.param)
    store = patient_store(url)
    yield store
    await store.close()


@pytest.fixture
def organisation() -> str:
    return f"org-{uuid4()}"
