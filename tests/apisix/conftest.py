"""What the tests of the Lua plugin share."""

from collections.abc import AsyncIterator

import pytest_asyncio

from tests.apisix.faulty import Stand, faulty_stand


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running() -> AsyncIterator[Stand]:
    async with faulty_stand() as stand:
        yield stand


@pytest_asyncio.fixture(loop_scope="module")
async def faulty(running: Stand) -> AsyncIterator[Stand]:
    """Nothing is left of earlier tests, and nothing may be wrong after this one."""
    await running.rest()
    yield running
    await running.rest()
