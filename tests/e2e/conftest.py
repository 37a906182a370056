"""One stack a module for the tests that ask for `site`; each test begins with empty books."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from headrace.ext_proc.envoy.transport import Transport
from tests.e2e.site import Site, running_site
from tests.transports import transport

__all__ = ["transport"]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def module_site(transport: Transport) -> AsyncIterator[Site]:
    async with running_site() as running:
        yield running


@pytest.fixture
def site(module_site: Site) -> Site:
    """With books that hold this test's requests alone."""
    module_site.standard.books.clear()
    module_site.large.books.clear()
    return module_site
