"""Properties are never judged by the time an example takes: the machines are shared.

Their examples are drawn anew in each run, but where `CI` is set: there a change is judged by the same ones every time.
"""

import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile(
    "headrace",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    print_blob=True,
    derandomize="CI" in os.environ,
)
settings.load_profile("headrace")


@pytest.fixture
def careless() -> Iterator[None]:
    """A umask that takes no permission away: what is nobody else's was made so."""
    before = os.umask(0)
    yield
    os.umask(before)
