"""The figures of `python -m tests.bench.apisix`, and nginx in the shape that it measures."""

import asyncio
import contextlib
from pathlib import Path

import pytest

from tests.apisix.nginx import missing
from tests.bench.apisix import summary
from tests.bench.apisix_nginx import nginx
from tests.bench.apisix_streams import Turns, chunk_times
from tests.e2e.envoy_process import short_directory


def test_what_is_added_is_the_median_of_each_rounds_difference() -> None:
    found = summary([1.0, 2.0, 30.0], [2.0, 4.5, 32.0], "ms")
    assert (found.without, found.headrace, found.added, found.least) == (2.0, 4.5, 2.0, 1.0)
    assert found.rounds == [1.0, 2.5, 2.0]


@pytest.mark.skipif(bool(missing()), reason=missing())
async def test_every_event_of_a_stream_is_timed() -> None:
    async with contextlib.AsyncExitStack() as stack:
        folder: Path = stack.enter_context(short_directory())
        model = await stack.enter_async_context(Turns.serving())
        url, _ = await stack.enter_async_context(nginx(folder, model.url.removeprefix("http://")))
        async with asyncio.timeout(30):
            times = await chunk_times(model, url, 20)
    assert len(times) == 20
    assert all(0 < each < 30 for each in times)
