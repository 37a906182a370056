"""Streams that a session has wait for it: between which events, and what its verdicts do."""

from collections.abc import Sequence
from typing import Any

import pytest

from headrace.ext_proc.core.events import Deliver, ResponseBody, ResponseTrailers
from headrace.ext_proc.core.exchange import Exchange
from headrace.ext_proc.core.needs import Needs
from headrace.ext_proc.core.request import Request
from headrace.ext_proc.core.session import EndStream, Link, Session
from headrace.ext_proc.core.sse import SseEvent
from headrace.ext_proc.core.verdict import PASS, Verdict
from tests.kit import DENIED, STREAM, chunk, decision_in, delta, exchange_of, filter_of, last, post, told


class Waiting(Session):
    """Falls behind at every event whose text is `wait`; catching up gives, or raises, `answer`."""

    needs = Needs.RESPONSE_STREAM

    def __init__(self, answer: Verdict | Exception = PASS, *, catches_up: bool = True) -> None:
        self.heard: list[str] = []
        self._answer = answer
        self._catches_up = catches_up

    def open(self, request: Request) -> Session:
        return self

    def on_event(self, event: SseEvent) -> Sequence[SseEvent]:
        word = event.json["choices"][0]["delta"]["content"]
        self.heard.append(word)
        self.behind = self.behind or word == "wait"
        if word == "end":
            raise EndStream(DENIED)
        return (event,)

    async def catch_up(self) -> Verdict:
        self.heard.append("(waited)")
        self.behind = not self._catches_up
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer


def exchange(session: Waiting, **link: Any) -> Exchange:
    return exchange_of(Link("waits", session, **link))


def words(*said: str, end: bool = False) -> ResponseBody:
    """Several events in one chunk."""
    return ResponseBody(b"".join(chunk(delta(word)).data for word in said), end)


async def delivered(it: Exchange, *bodies: ResponseBody) -> str:
    """What goes to the caller."""
    answers = await told(it, post(), STREAM, *bodies)
    return b"".join(answer.data for answer in answers if isinstance(answer, Deliver)).decode()


@pytest.mark.parametrize("bodies", [[words("a", "wait", "b", "c", end=True)], [words(word) for word in ("a", "wait", "b", "c")]])
async def test_a_stream_waits_before_the_event_after_the_one_that_put_it_behind(bodies: list[ResponseBody]) -> None:
    session = Waiting()
    text = await delivered(exchange(session), *bodies)
    assert session.heard == ["a", "wait", "(waited)", "b", "c"]
    assert [word for word in ("a", "wait", "b", "c") if f'"{word}"' in text] == ["a", "wait", "b", "c"]


async def test_a_stream_that_has_ended_is_waited_for_no_more() -> None:
    session = Waiting()
    it = exchange(session)
    text = await delivered(it, words("a", "wait", end=True))
    assert session.heard == ["a", "wait"] and '"wait"' in text
    assert decision_in(it.close())["outcome"] == "completed"


async def test_trailers_end_it_as_well() -> None:
    session = Waiting()
    answer = await last(exchange(session), post(), STREAM, words("a"), ResponseTrailers())
    assert answer == Deliver(b"", trailers=True)


async def test_a_reply_ends_the_stream_before_the_event_that_waits() -> None:
    it = exchange(Waiting(DENIED))
    text = await delivered(it, words("wait", "b", "c"))
    assert '"wait"' in text and '"b"' not in text and DENIED.reason in text
    record = decision_in(it.close())
    assert (record["outcome"], record["reason"]) == ("cut", DENIED.reason)
    assert [(step["phase"], step["outcome"]) for step in record["steps"]] == [("stream", "reply")]


async def test_a_session_may_still_end_the_stream_by_itself() -> None:
    it = exchange(Waiting())
    text = await delivered(it, words("wait", "b", "end", "c"))
    assert '"b"' in text and '"end"' not in text and DENIED.reason in text
    assert it._meter.text == "waitbend"


WAITED_TWICE = words("wait", "b", "wait", "c", end=True)


async def test_in_shadow_a_reply_is_said_once_and_the_stream_goes_on() -> None:
    it = exchange(Waiting(DENIED), shadow=True)
    assert '"c"' in await delivered(it, WAITED_TWICE)
    assert [step["outcome"] for step in decision_in(it.close())["steps"]] == ["would_reply"]


@pytest.mark.parametrize(("fail_open", "outcomes"), [(True, ["failed"]), (False, ["failed"])])
async def test_a_session_that_fails_while_the_stream_waits_fails_as_its_policy_says(fail_open: bool, outcomes: list[str]) -> None:
    it = exchange(Waiting(RuntimeError("no"), catches_up=False), fail_open=fail_open)
    text = await delivered(it, WAITED_TWICE)
    assert ('"c"' in text) is fail_open
    assert ("waits.failed" in text) is not fail_open
    assert [step["outcome"] for step in decision_in(it.close())["steps"]] == outcomes


async def test_a_stream_that_goes_on_leaves_no_trace_of_its_waits() -> None:
    it = exchange(Waiting())
    await delivered(it, *[words("wait", "b") for _ in range(50)])
    assert decision_in(it.close())["steps"] == []


async def test_sessions_that_do_not_wait_stand_beside_one_that_does() -> None:
    session = Waiting()
    beside = filter_of(needs=Needs.RESPONSE_STREAM)
    await delivered(exchange_of(Link("waits", session), beside), words("wait", "b", end=True))
    assert session.heard == ["wait", "(waited)", "b"]
    assert await Session().catch_up() is PASS
