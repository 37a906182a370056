"""Streamed answers on their way through an exchange: passed on, held back, cut."""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import pytest

from headrace.ext_proc.core import answer_half
from headrace.ext_proc.core.effects import Cause, Outcome, Release
from headrace.ext_proc.core.events import Deliver, Hold, ResponseBody, ResponseTrailers
from headrace.ext_proc.core.exchange import Exchange
from headrace.ext_proc.core.needs import Needs
from headrace.ext_proc.core.request import Response
from headrace.ext_proc.core.session import EndStream, Link, Session
from headrace.ext_proc.core.sse import SseEvent, SseParser
from headrace.ext_proc.core.usage import Usage
from headrace.ext_proc.core.verdict import PASS, Reply
from tests.kit import (
    STREAM,
    body,
    chunk,
    delta,
    exchange_of,
    filter_of,
    last,
    post,
    proceeds,
    told,
)

from .answering import USAGE, asked, delivered, outcome, reads

EVENTS = [delta("Hel"), delta("lo"), {"choices": [], "usage": USAGE}]


def streamed(*events: Any) -> bytes:
    return b"".join(chunk(event).data for event in [*events, "[DONE]"])


async def through(exchange: Exchange, data: bytes, size: int) -> tuple[bytes, list[Deliver]]:
    """What the caller gets of a stream that comes in chunks of `size`."""
    pieces = [ResponseBody(data[at : at + size]) for at in range(0, len(data), size)]
    answers = await told(exchange, STREAM, *pieces, ResponseBody(b"", end=True))
    out = [answer for answer in answers[1:] if isinstance(answer, Deliver)]
    return b"".join(answer.data for answer in out), out


@pytest.mark.parametrize("size", [1, 7, 10_000])
async def test_a_stream_passes_unchanged_however_it_is_cut(size: int) -> None:
    filter = reads()
    exchange = await asked(filter)
    data = streamed(*EVENTS)
    out, answers = await through(exchange, data, size)
    assert out == data
    assert [answer.end for answer in answers] == [False] * (len(answers) - 1) + [True]
    assert outcome(exchange, filter) == Outcome(Cause.COMPLETED, 200, Usage(3, 4), "Hello", forwarded=True, input_tokens=3)


async def test_the_content_length_of_a_stream_is_taken_away() -> None:
    answer = proceeds(await last(await asked(reads()), STREAM))
    assert answer.edits.remove_headers == ("content-length",)


class Upper(Session):
    """Holds every second event back until the next."""

    needs = Needs.RESPONSE_STREAM

    def __init__(self) -> None:
        self.held: list[SseEvent] = []

    def on_event(self, event: SseEvent) -> Iterator[SseEvent]:  # type: ignore[override]  # a generator, as somebody will write it
        if self.held:
            yield self.held.pop()
            yield event
        else:
            self.held.append(event)

    def on_stream_end(self) -> Sequence[SseEvent]:
        return [*self.held, SseEvent.of("tail")]


@pytest.mark.parametrize("size", [1, 10_000])
async def test_what_filters_hold_back_comes_out_at_the_end_through_those_after_them(size: int) -> None:
    seen: list[str | None] = []

    def look(event: SseEvent) -> Sequence[SseEvent]:
        seen.append(event.data)
        return (event,)

    first = reads(on_event=look, on_stream_end=[SseEvent.of("first's")])
    holding = filter_of()
    exchange = exchange_of(first, Link("upper", HoldingFilter()), holding)
    await told(exchange, post(), body())
    out, _ = await through(exchange, streamed("1", "2"), size)
    assert [event.data for event in SseParser().feed(out)] == ["1", "2", "[DONE]", "tail", "first's"]
    assert seen == ["1", "2", "[DONE]", "tail"]


class HoldingFilter:
    def open(self, request: object) -> Session | None:
        return Upper()


async def test_trailers_end_a_stream_and_follow_what_was_held_back() -> None:
    exchange = await asked(reads(on_stream_end=[SseEvent.of("tail")]))
    answer = delivered(await last(exchange, STREAM, chunk(delta("x")), ResponseTrailers()))
    assert (answer.data, answer.end, answer.trailers) == (b"data: tail\n\n", False, True)


CUT = Reply(429, "budget.exhausted", "Spent.")


@pytest.mark.parametrize(("path", "name"), [("/v1/chat/completions", None), ("/v1/messages", "error")], ids=["openai", "anthropic"])
async def test_a_stream_is_cut_in_band_in_the_callers_dialect_and_its_rest_is_ignored(path: str, name: str | None) -> None:
    def stop(event: SseEvent) -> Sequence[SseEvent]:
        if event.data == "2":
            raise EndStream(CUT)
        return (event,)

    filter = reads(on_event=stop)
    exchange = await asked(filter, path=path)
    data = b"".join(chunk(text).data for text in "123")
    answers = await told(exchange, STREAM, ResponseBody(data), chunk("4"), ResponseTrailers())
    first, second = SseParser().feed(delivered(answers[1]).data)
    assert (first.data, second.name, second.json["error"]["code"]) == ("1", name, "budget.exhausted")
    assert delivered(answers[1]).end
    assert answers[2:] == [Hold(), Hold()]
    assert (outcome(exchange, filter).cause, exchange.decision.reason) == (Cause.CUT, "budget.exhausted")


async def test_a_stream_may_be_cut_by_what_was_held_back() -> None:
    exchange = await asked(reads(on_stream_end=EndStream(CUT)))
    answers = await told(exchange, STREAM, chunk(delta("x")), chunk("[DONE]", end=True))
    assert b"budget.exhausted" in delivered(answers[-1]).data
    assert delivered(answers[-1]).data.startswith(b"data: [DONE]")


FAILING = [{"on_event": ValueError()}, {"on_event": None}, {"on_stream_end": ValueError()}]


@pytest.mark.parametrize("script", FAILING, ids=repr)
@pytest.mark.parametrize("way", ["closed", "open", "shadow"])
async def test_a_filter_that_fails_on_a_stream(script: dict[str, Any], way: str) -> None:
    link = Link("fragile", reads(**script), shadow=way == "shadow", fail_open=way == "open")
    exchange = await asked(link)
    out, _ = await through(exchange, streamed("1"), 10_000)
    assert (b"fragile.failed" in out) is (way == "closed")
    if way != "closed":
        assert out == streamed("1")


CHANGING = [{"on_event": EndStream(CUT)}, {"on_event": ()}, {"on_stream_end": [SseEvent.of("x")]}]


@pytest.mark.parametrize("script", CHANGING, ids=repr)
async def test_a_shadow_filter_changes_no_stream(script: dict[str, Any]) -> None:
    out, _ = await through(await asked(Link("watch", reads(**script), shadow=True)), streamed("1"), 3)
    assert out == streamed("1")


@pytest.mark.parametrize("shadow", [True, False])
async def test_what_a_stream_was_spared_is_recorded_once(shadow: bool) -> None:
    script = {"on_event": EndStream(CUT)} if shadow else {"on_event": ValueError()}
    exchange = await asked(Link("watch", reads(**script), shadow=shadow, fail_open=not shadow))
    await through(exchange, streamed("1", "2", "3"), 3)
    spared = [step for step in exchange.decision.steps if step["phase"] == "stream"]
    outcome, reason = ("would_reply", "budget.exhausted") if shadow else ("failed", "watch.failed")
    expected = {"filter": "watch", "phase": "stream", "outcome": outcome, "reason": reason, "us": 0.0}
    assert spared == [expected | ({"mode": "shadow"} if shadow else {})]


async def test_a_stream_that_cannot_be_read_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    exchange = await asked(reads())
    monkeypatch.setattr(answer_half, "SseParser", partial(SseParser, limit=10))
    answers = await told(exchange, STREAM, ResponseBody(b"data: much too long"))
    assert b"response.unreadable" in delivered(answers[1]).data


async def test_only_filters_that_need_or_join_a_stream_see_it() -> None:
    joins, stranger = filter_of(joins=Needs.RESPONSE_STREAM), filter_of()
    await through(await asked(reads(), joins, stranger), streamed("1"), 10_000)
    assert joins.session.heard.count("on_event") == 2
    assert "on_event" not in stranger.session.heard


async def test_effects_of_all_sessions_come_in_reverse_order_and_before_the_record() -> None:
    first, second = reads(close=[Release("o", "1")]), reads(close=[Release("o", "2"), Release("o", "3")])
    exchange = await asked(first, second)
    effects = exchange.close(Cause.ABORTED)
    assert [effect.lease for effect in effects if isinstance(effect, Release)] == ["2", "3", "1"]
    assert [type(effect).__name__ for effect in effects][-1] == "Record"


async def test_a_client_that_hangs_up_in_mid_stream_leaves_the_words_that_were_streamed() -> None:
    filter = reads()
    exchange = await asked(filter)
    await told(exchange, STREAM, chunk(delta("Hel")), chunk(delta("lo")))
    assert outcome(exchange, filter) == Outcome(Cause.ABORTED, 200, None, "Hello", forwarded=True)


async def test_the_hooks_of_a_bare_session_pass_everything() -> None:
    session = Session()
    event = SseEvent.of("x")
    assert await session.on_response(Response(200, STREAM.headers, is_stream=False)) == PASS
    assert (session.on_event(event), session.on_stream_end()) == ((event,), ())
    assert session.close(Outcome(Cause.COMPLETED)) == ()
