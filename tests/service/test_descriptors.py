"""A system's soft limit of descriptors is no limit of connections."""

import asyncio
import contextlib
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace.ext_proc.envoy.h2 import frames
from headrace.ext_proc.service.descriptors import WANTED, allow_many
from tests.e2e.served import POLICY, serving
from tests.service.waiting import workers_of
from tests.transcripts.site import WAIT

FEW, MORE = 256, 300


@pytest.fixture
def few() -> Iterator[int]:
    """What is started here begins with a soft limit of FEW; the hard one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (FEW, hard))
    yield hard
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_a_service_takes_more_connections_than_its_first_limit_allows(few: int, folder: Path) -> None:
    async with serving(folder, POLICY, 1, ("--listen", "127.0.0.1:0")) as (process, ready), contextlib.AsyncExitStack() as open_:
        allow_many()  # here, too
        (worker,) = workers_of(process.pid)
        assert resource.prlimit(worker, resource.RLIMIT_NOFILE)[0] > FEW
        port = int(ready["addresses"][0].rpartition(":")[2])
        for _ in range(MORE):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            open_.callback(writer.close)
            writer.write(frames.PREFACE + frames.settings({}))
            assert await asyncio.wait_for(reader.read(9), WAIT)


def test_the_limit_is_raised_as_far_as_it_may_be_and_never_lowered(few: int) -> None:
    allowed = WANTED if few == resource.RLIM_INFINITY else min(WANTED, few)
    allow_many()
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == (allowed, few)
    allow_many()
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == (allowed, few)
