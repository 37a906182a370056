"""A worker's way out, with a server and streams that a test moves by hand."""

import asyncio
from types import SimpleNamespace
from typing import cast

import pytest

from headrace.ext_proc.envoy.processor import Processor
from headrace.ext_proc.envoy.transport import Server as Transport
from headrace.ext_proc.service import draining
from headrace.ext_proc.service.control import Drain
from headrace.ext_proc.service.draining import Draining
from tests.service.waiting import until


class Server:
    """stop(grace) returns when the streams have ended, or when it is called again with 0."""

    def __init__(self) -> None:
        self.graces: list[float] = []
        self.ended = asyncio.Event()

    async def stop(self, grace: float) -> None:
        self.graces.append(grace)
        if grace == 0:
            self.ended.set()
        await self.ended.wait()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(draining, "NOTICE_S", 0.01)
    monkeypatch.setattr(draining, "LINGER_S", 0.01)


class Leaving:
    """A drain under way, with one stream open."""

    def __init__(self) -> None:
        self.server, self.processor = Server(), SimpleNamespace(active=1)
        self.draining = Draining(cast(Processor, self.processor))

    def start(self, order: Drain) -> "asyncio.Task[None]":
        return asyncio.create_task(self.draining.run(cast(Transport, self.server), order))


async def test_it_is_ready_until_it_leaves() -> None:
    leaving = Leaving()
    assert leaving.draining.ready()
    task = leaving.start(Drain(60))
    await until(lambda: not leaving.draining.ready(), "the worker turned unready")
    leaving.processor.active = 0
    await task


async def test_open_streams_are_waited_for_and_the_access_log_is_not() -> None:
    leaving = Leaving()
    task = leaving.start(Drain(60))
    await until(lambda: leaving.server.graces == [60], "new streams were refused")
    assert not task.done()
    leaving.processor.active = 0
    await task
    assert leaving.server.graces == [60, 0]


async def test_streams_that_outlast_the_limit_are_cut_off() -> None:
    leaving = Leaving()
    task = leaving.start(Drain(60))
    await until(lambda: leaving.server.graces == [60], "new streams were refused")
    leaving.server.ended.set()  # as grpc does when the grace is over
    await task
    assert leaving.processor.active == 1


async def test_a_proxy_that_watches_is_given_notice_before_streams_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(draining, "NOTICE_S", 3_600)
    leaving = Leaving()
    leaving.draining.ready()
    task = leaving.start(Drain(60))
    await until(lambda: not leaving.draining.ready(), "the worker turned unready")
    assert leaving.server.graces == []
    task.cancel()


async def test_without_a_proxy_that_watches_there_is_no_notice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(draining, "NOTICE_S", 3_600)
    leaving = Leaving()
    leaving.processor.active = 0
    await leaving.start(Drain(60))


async def test_notice_can_be_waived(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(draining, "NOTICE_S", 3_600)
    leaving = Leaving()
    leaving.draining.ready()
    leaving.processor.active = 0
    await leaving.start(Drain(60, notice=False))
