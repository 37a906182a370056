"""The table of states: every pair of state and event is either a row or a ProtocolError, and every state can be closed once."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from headrace.ext_proc.core.effects import Cause, Record, Release
from headrace.ext_proc.core.errors import ProtocolError
from headrace.ext_proc.core.events import (
    Answer,
    Deliver,
    Event,
    Hold,
    Proceed,
    Refuse,
    RequestBody,
    RequestHeaders,
    ResponseBody,
    ResponseHeaders,
    ResponseTrailers,
)
from headrace.ext_proc.core.exchange import Exchange, State
from headrace.ext_proc.core.needs import Needs
from headrace.ext_proc.core.session import EndStream, Link
from headrace.ext_proc.core.sse import SseEvent
from headrace.ext_proc.core.verdict import PASS, Continue, Edits, SetMember
from tests.kit import (
    DENIED,
    STREAM,
    ScriptedFilter,
    answer_head,
    body,
    chunk,
    decision_in,
    delta,
    exchange_of,
    filter_of,
    post,
    told,
)

ALL = Needs.REQUEST_BODY | Needs.RESPONSE_BODY | Needs.RESPONSE_STREAM


async def _at(state: State) -> Exchange:
    """An exchange with one watching filter, brought into `state`."""
    exchange = exchange_of(filter_of(needs=ALL))
    ways: dict[State, tuple[Event, ...]] = {
        State.START: (),
        State.AWAIT_BODY: (post(),),
        State.AWAIT_RESPONSE: (post(), body()),
        State.COLLECTING: (post(), body(), answer_head()),
        State.STREAMING: (post(), body(), STREAM),
        State.DONE: (post(), body(), STREAM, chunk("[DONE]", end=True)),
        State.CLOSED: (post(), body(), STREAM, chunk("[DONE]", end=True)),
    }
    await told(exchange, *ways[state])
    if state is State.CLOSED:
        exchange.close()
    assert exchange.state is state
    return exchange


EVENTS: tuple[Event, ...] = (
    post(),
    body(),
    answer_head(),
    replace(answer_head(status=413), from_upstream=False),
    chunk(delta("x")),
    ResponseTrailers(),
)

ROWS: dict[tuple[State, type[Event]], type[Answer]] = {
    (State.START, RequestHeaders): Proceed,
    (State.START, ResponseHeaders): Proceed,  # the proxy's own reply; an upstream's is an error, below
    (State.AWAIT_BODY, RequestBody): Proceed,
    (State.AWAIT_BODY, ResponseHeaders): Proceed,
    (State.AWAIT_RESPONSE, ResponseHeaders): Proceed,
    (State.COLLECTING, ResponseBody): Hold,
    (State.COLLECTING, ResponseTrailers): Deliver,
    (State.STREAMING, ResponseBody): Deliver,
    (State.STREAMING, ResponseTrailers): Deliver,
    (State.DONE, ResponseBody): Hold,
    (State.DONE, ResponseTrailers): Hold,
}


def _allowed(state: State, event: Event) -> type[Answer] | None:
    if isinstance(event, ResponseHeaders) and not event.from_upstream:
        return {State.START: Proceed, State.AWAIT_BODY: Proceed, State.AWAIT_RESPONSE: Proceed}.get(state)
    if isinstance(event, ResponseHeaders) and state in (State.START, State.AWAIT_BODY):
        return None
    return ROWS.get((state, type(event)))


@pytest.mark.parametrize("state", State, ids=lambda state: state.name)
@pytest.mark.parametrize("index", range(len(EVENTS)), ids=lambda index: f"{index}-{type(EVENTS[index]).__name__}")
async def test_every_event_has_its_row_in_every_state_or_is_a_protocol_error(state: State, index: int) -> None:
    event = EVENTS[index]
    exchange = await _at(state)
    if (expected := _allowed(state, event)) is None:
        with pytest.raises(ProtocolError):
            await told(exchange, event)
        assert exchange.state is state
    else:
        assert isinstance((await told(exchange, event))[0], expected)


@pytest.mark.parametrize("state", [state for state in State if state is not State.CLOSED], ids=lambda state: state.name)
async def test_every_state_closes_once_with_one_record(state: State) -> None:
    exchange = await _at(state)
    effects = exchange.close(Cause.ABORTED)
    assert [type(effect) for effect in effects] == [Record]
    assert decision_in(effects)["outcome"] == ("completed" if state is State.DONE else "aborted")
    assert exchange.state is State.CLOSED
    assert exchange.close(Cause.FAILED) == ()


async def _handed_off() -> Exchange:
    exchange = exchange_of(filter_of(needs=Needs.REQUEST_BODY))
    await told(exchange, post(), body())
    return exchange


async def _refused() -> Exchange:
    exchange = exchange_of(filter_of(needs=Needs.REQUEST_BODY, on_request=DENIED))
    assert isinstance((await told(exchange, post(), body()))[-1], Refuse)
    return exchange


async def _completed() -> Exchange:
    return await _at(State.DONE)


async def _cut() -> Exchange:
    exchange = exchange_of(filter_of(needs=ALL, on_event=ValueError()))
    await told(exchange, post(), body(), STREAM, chunk(delta("x")))
    return exchange


async def _proxy_gone() -> Exchange:
    return await _at(State.STREAMING)


async def _replied_at_once() -> Exchange:
    exchange = await _at(State.START)
    await told(exchange, replace(answer_head(status=400), from_upstream=False))
    return exchange


async def _replied_early() -> Exchange:
    exchange = await _at(State.AWAIT_BODY)
    await told(exchange, replace(answer_head(status=413), from_upstream=False))
    return exchange


ENDINGS: dict[Callable[[], Awaitable[Exchange]], Cause] = {
    _handed_off: Cause.HANDED_OFF,
    _refused: Cause.REFUSED,
    _completed: Cause.COMPLETED,
    _cut: Cause.CUT,
    _proxy_gone: Cause.FAILED,  # the cause that the adapter gives
    _replied_at_once: Cause.ABORTED,
    _replied_early: Cause.ABORTED,
}


@pytest.mark.parametrize("ending", ENDINGS, ids=lambda ending: ending.__name__.strip("_"))
async def test_every_ending_has_its_cause_and_one_record(ending: Callable[[], Awaitable[Exchange]]) -> None:
    exchange = await ending()
    assert decision_in(exchange.close(Cause.FAILED))["outcome"] == ENDINGS[ending].value
    assert exchange.close() == ()


async def test_after_a_protocol_error_the_session_is_closed_all_the_same() -> None:
    watching = filter_of(needs=ALL)
    exchange = exchange_of(watching)
    await told(exchange, post())
    with pytest.raises(ProtocolError, match="ResponseBody came while awaiting the request body"):
        await told(exchange, ResponseBody(b""))
    exchange.close(Cause.FAILED)
    assert [outcome.cause for outcome in watching.session.outcomes] == [Cause.FAILED]


async def test_a_session_whose_filter_is_still_deciding_when_the_proxy_leaves_is_closed() -> None:
    deciding = filter_of(needs=ALL)
    exchange = exchange_of(deciding)
    exchange.receive(post())
    assert exchange.next_ask() is not None
    exchange.close(Cause.ABORTED)
    assert [outcome.cause for outcome in deciding.session.outcomes] == [Cause.ABORTED]


# --- any order --------------------------------------------------------------------------------------------------------------------

ODD: list[Event] = [*EVENTS, post("/v1/files"), STREAM, chunk("[DONE]", end=True), ResponseBody(b"\xff{")]
USUAL: list[list[Event]] = [
    [post(), body(), STREAM, chunk(delta("x")), chunk("[DONE]"), ResponseTrailers()],
    [post(), body(), answer_head(), ResponseBody(b'{"x": '), ResponseBody(b"1}", end=True)],
]
ORDERS = st.builds(
    lambda usual, kept, odd: usual[:kept] + odd,
    st.sampled_from(USUAL),
    st.integers(0, 6),
    st.lists(st.sampled_from(ODD), max_size=4),
)
VERDICTS = st.sampled_from([PASS, DENIED, ValueError(), None, Continue(Edits(members=[SetMember(("x",), 1)]))])
STREAMED = st.sampled_from([(), (SseEvent.of("own"),), EndStream(DENIED), ValueError(), None])
SCRIPTS = st.fixed_dictionaries(
    {"needs": st.sampled_from([Needs.NOTHING, Needs.REQUEST_BODY, ALL])},
    optional={
        **dict.fromkeys(("on_headers", "on_request", "on_response"), VERDICTS),
        **dict.fromkeys(("on_event", "on_stream_end"), STREAMED),
        "open": st.sampled_from([False, ValueError()]),
        "close": st.sampled_from([ValueError(), (Release("o", "e1"),), None]),
    },
)
LINKS = st.builds(Link, st.just("f"), st.builds(ScriptedFilter, SCRIPTS), shadow=st.booleans(), fail_open=st.booleans())


@given(ORDERS, st.lists(LINKS, max_size=3))
@settings(deadline=None, max_examples=300)
def test_whatever_the_proxy_sends_and_filters_do_an_exchange_answers_or_refuses_and_closes_once(
    events: list[Event], links: list[Link]
) -> None:
    exchange = exchange_of(*links)
    answers = asyncio.run(_until_error(exchange, events))
    ends = [answer for answer in answers if isinstance(answer, Refuse) or (isinstance(answer, Proceed) and answer.last)]
    assert len(ends) <= 1
    assert not ends or exchange.state is State.DONE
    assert isinstance(exchange.close(Cause.FAILED)[-1], Record)
    assert exchange.close(Cause.FAILED) == ()
    sessions = [session for link in links if isinstance(link.filter, ScriptedFilter) for session in link.filter.sessions]
    assert all(len(session.outcomes) == 1 for session in sessions)


async def _until_error(exchange: Exchange, events: list[Event]) -> list[Answer]:
    """The answers until an event comes that is not allowed; no other error may come up."""
    answers: list[Answer] = []
    for event in events:
        try:
            answers += await told(exchange, event)
        except ProtocolError:
            break
    return answers
