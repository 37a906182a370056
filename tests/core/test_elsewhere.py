"""Streams whose hooks run away from the event loop, because a session's wait for another process."""

import asyncio
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

from headrace.ext_proc.core.effects import Cause
from headrace.ext_proc.core.events import Deliver, ResponseBody
from headrace.ext_proc.core.needs import Needs
from headrace.ext_proc.core.request import Request
from headrace.ext_proc.core.session import EndStream, Link, Session
from headrace.ext_proc.core.sse import SseEvent
from tests.kit import DENIED, STREAM, chunk, decision_in, delta, exchange_of, filter_of, post, told


class Slow(Session):
    """Its hooks run in threads; each notes which. An event `end` ends the stream, and `fails` fails where the hooks would run."""

    needs = Needs.RESPONSE_STREAM

    def __init__(self, *, fails: bool = False) -> None:
        self.threads: list[int] = []
        self.away = self._failing if fails else self._in_thread

    def open(self, request: Request) -> Session:
        return self

    async def _in_thread(self, work: Callable[[], None]) -> None:
        await asyncio.to_thread(work)

    async def _failing(self, work: Callable[[], None]) -> None:
        work()
        raise RuntimeError("no room")

    def on_event(self, event: SseEvent) -> Sequence[SseEvent]:
        self.threads.append(threading.get_ident())
        if event.json["choices"][0]["delta"]["content"] == "end":
            raise EndStream(DENIED)
        return (event,)

    def on_stream_end(self) -> Sequence[SseEvent]:
        self.threads.append(threading.get_ident())
        return (SseEvent.of("rest"),)


def words(*said: str, end: bool = False) -> ResponseBody:
    return ResponseBody(b"".join(chunk(delta(word)).data for word in said), end)


async def said(session: Slow, *bodies: ResponseBody, **link: Any) -> tuple[str, Mapping[str, Any]]:
    """What goes to the caller, and the decision."""
    it = exchange_of(Link("slow", session, **link), filter_of(needs=Needs.RESPONSE_STREAM))
    answers = await told(it, post(), STREAM, *bodies)
    text = b"".join(answer.data for answer in answers if isinstance(answer, Deliver)).decode()
    return text, decision_in(it.close(Cause.COMPLETED))


async def test_every_hook_of_the_stream_runs_elsewhere_and_in_order() -> None:
    session = Slow()
    text, record = await said(session, words("a", "b"), words("c", end=True))
    assert [text.count(f'"{word}"') for word in "abc"] == [1, 1, 1]
    assert text.index('"a"') < text.index('"b"') < text.index('"c"') < text.index("rest")
    assert len(session.threads) == 4 and threading.get_ident() not in session.threads
    assert record["outcome"] == "completed" and "stream" not in [step["phase"] for step in record["steps"]]


async def test_it_may_end_the_stream_from_there() -> None:
    text, record = await said(Slow(), words("a", "end", "c"))
    assert '"a"' in text and '"c"' not in text and DENIED.reason in text
    assert record["outcome"] == "cut"


@pytest.mark.parametrize("fail_open", [True, False])
async def test_where_the_hooks_cannot_run_nothing_more_goes_out(fail_open: bool) -> None:
    text, record = await said(Slow(fails=True), words("a", "b"), fail_open=fail_open)
    assert '"b"' not in text and "slow.failed" in text
    assert record["outcome"] == "cut"


@pytest.mark.parametrize(("least", "elsewhere"), [(0, "aza-"), (200, "aa"), (10_000, "")])
async def test_only_what_is_large_enough_for_it_is_done_elsewhere(least: int, elsewhere: str) -> None:
    here, done = threading.get_ident(), list[str]()

    class Choosy(Slow):
        away_from = least

        def on_event(self, event: SseEvent) -> Sequence[SseEvent]:
            if threading.get_ident() != here:
                done.append(event.json["choices"][0]["delta"]["content"][0])
            return super().on_event(event)

        def on_stream_end(self) -> Sequence[SseEvent]:
            if threading.get_ident() != here:
                done.append("-")
            return super().on_stream_end()

    text, record = await said(Choosy(), words("a" * 300, "z"), words("a" * 300, end=True))
    assert "rest" in text and record["outcome"] == "completed"
    assert "".join(done) == elsewhere
