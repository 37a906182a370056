"""What the tests of the Lua plugin share."""

from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from tests.apisix.faulty import HASTY_MS, PATIENT_MS, Stand, faulty_stand
from tests.apisix.probe import Probe, running_probe
from tests.e2e.envoy_process import short_directory


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def patient() -> AsyncIterator[Stand]:
    async with faulty_stand(message_timeout_ms=PATIENT_MS) as stand:
        yield stand


@pytest_asyncio.fixture(loop_scope="module")
async def faulty(patient: Stand) -> AsyncIterator[Stand]:
    """Nothing is left of earlier tests, and nothing may be wrong after this one."""
    await patient.rest()
    yield patient
    await patient.rest()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def hurried() -> AsyncIterator[Stand]:
    async with faulty_stand(message_timeout_ms=HASTY_MS) as stand:
        yield stand


@pytest_asyncio.fixture(loop_scope="module")
async def hasty(hurried: Stand) -> AsyncIterator[Stand]:
    """For what must come to its end by a time-out."""
    await hurried.rest()
    yield hurried
    await hurried.rest()


@pytest.fixture(scope="module")
def probe() -> Iterator[Probe]:
    with short_directory() as folder, running_probe(folder) as probe:
        yield probe
