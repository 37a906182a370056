"""A rig whose store is this process's memory."""

from collections.abc import AsyncIterator

import pytest

from headrace.ext_proc.engine.offload import ThreadOffload
from headrace.ext_proc.stores import open_store
from tests.filters.budget.support import Rig


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    offload = ThreadOffload(1)
    yield Rig(open_store("memory://"), offload)
    offload.close()
