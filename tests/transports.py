"""Which transport the service runs on in tests that go through its processes or a whole stack."""

import pytest

from headrace.ext_proc.envoy.transport import DEFAULT, Transport

ON_BOTH = pytest.mark.parametrize("transport", list(Transport), indirect=True, scope="module")
"""For a module: every test of it, with each transport. It needs the fixture `transport` of this file in its conftest."""


class Chosen:
    """now: what a stack or a service that is started now is to use."""

    now = DEFAULT


@pytest.fixture(scope="module", autouse=True)
def transport(request: pytest.FixtureRequest) -> Transport:
    """The transport of the module's tests: the default, unless they are marked ON_BOTH."""
    Chosen.now = getattr(request, "param", DEFAULT)
    return Chosen.now
