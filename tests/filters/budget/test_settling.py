"""What becomes of a lease when its exchange ends, and when the store is away."""

import asyncio
import json
from typing import Any

import pytest

from headrace.ext_proc.core.effects import Cause, Release, Settle
from headrace.ext_proc.core.events import Proceed, Refuse, RequestBody, RequestHeaders, ResponseBody, ResponseHeaders
from headrace.ext_proc.core.headers import Headers
from headrace.ext_proc.core.ledger import AMOUNT_MAX, HELD
from headrace.ext_proc.core.needs import Capability
from headrace.ext_proc.core.ports import Store
from headrace.ext_proc.core.request import Request
from headrace.ext_proc.core.session import Session
from headrace.ext_proc.core.settlement import Finished, settlement
from headrace.ext_proc.core.terms import read
from headrace.ext_proc.core.usage import Usage
from headrace.ext_proc.core.verdict import Continue, Verdict
from tests.filters.budget.support import (
    BODY,
    JSON,
    PROMPT,
    SSE,
    TOKENS_A_DAY,
    USAGE,
    Refusing,
    Rig,
    chunk,
    error_of,
    money,
)


async def test_a_later_refusal_gives_back_what_was_reserved(rig: Rig) -> None:
    rig.later = [Refusing("request")]
    exchange, answer = await rig.ask()
    assert isinstance(answer, Refuse) and await rig.used("user-day:research/ann") == 100
    (release,) = money(effects := exchange.close())
    assert isinstance(release, Release) and (release.organisation, release.lease) == ("acme", "x1")
    await rig.carry_out(effects)
    assert await rig.used("user-day:research/ann") == 0


async def test_a_client_that_leaves_before_the_request_went_out_gets_it_back(rig: Rig) -> None:
    held = asyncio.Event()

    class Slow(Session):
        def open(self, request: Request) -> Session:
            return self

        async def on_request(self, request: Request) -> Verdict:
            held.set()
            await asyncio.Event().wait()
            return Continue()

    rig.later = [Slow()]
    exchange = rig.exchange()
    await rig.send(exchange, RequestHeaders(Headers([(":method", "POST"), (":path", "/v1/chat/completions")])))
    waiting = asyncio.ensure_future(rig.send(exchange, RequestBody(json.dumps(BODY).encode())))
    await held.wait()
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    await rig.carry_out(exchange.close(Cause.ABORTED))
    assert await rig.used("user-day:research/ann") == 0


async def test_what_the_access_log_settles_is_left_to_it(rig: Rig) -> None:
    exchange, _ = await rig.ask()
    assert money(exchange.close(Cause.HANDED_OFF)) == []


async def test_an_answer_that_was_read_here_is_settled_by_its_usage(rig: Rig) -> None:
    rig.capabilities = Capability.NOTHING
    rig.budgets = [TOKENS_A_DAY, {"name": "cost", "per": ["team"], "limit": {"usd": 1}, "window": "day"}]
    exchange, answer = await rig.ask()
    assert isinstance(answer, Proceed) and answer.metadata["settle"] == "stream"
    await rig.send(exchange, ResponseHeaders(200, JSON))
    await rig.send(exchange, ResponseBody(json.dumps({"usage": USAGE}).encode(), end=True))
    effects = exchange.close()
    (settle,) = money(effects)
    assert isinstance(settle, Settle) and settle.usage == Usage(8, 5)
    (record,) = [record for record in await rig.carry_out(effects) if record.kind == "settlement"]
    assert record.members["outcome"] == "settled" and record.members["usd"] == "0.000018"
    assert record.members["model"] == "gpt-x" and record.members["status"] == 200
    assert await rig.used("user-day:research/ann") == 13
    assert await rig.used("cost:research", "nano_usd") == 8 * 1_000 + 5 * 2_000


@pytest.mark.parametrize(("status", "from_upstream"), [(500, True), (400, True), (503, False)])
async def test_an_answer_that_is_an_error_costs_nothing(rig: Rig, status: int, from_upstream: bool) -> None:
    rig.capabilities = Capability.NOTHING
    exchange, _ = await rig.ask()
    await rig.send(exchange, ResponseHeaders(status, JSON, end=True, from_upstream=from_upstream))
    await rig.carry_out(exchange.close())
    assert await rig.used("user-day:research/ann") == 0


async def test_an_answer_without_usage_stands_at_what_was_reserved(rig: Rig) -> None:
    rig.capabilities = Capability.NOTHING
    exchange, _ = await rig.ask()
    await rig.send(exchange, ResponseHeaders(200, JSON))
    await rig.send(exchange, ResponseBody(b"{}", end=True))
    records = await rig.carry_out(exchange.close())
    assert "kept" in [record.members["outcome"] for record in records]
    assert await rig.used("user-day:research/ann") == 100


async def test_an_answer_that_a_later_filter_refuses_is_paid_for(rig: Rig) -> None:
    rig.later = [Refusing("response")]
    exchange, _ = await rig.ask()
    await rig.send(exchange, ResponseHeaders(200, JSON))
    answer = await rig.send(exchange, ResponseBody(json.dumps({"usage": USAGE}).encode(), end=True))
    assert isinstance(answer, Refuse)
    await rig.carry_out(exchange.close())
    assert await rig.used("user-day:research/ann") == 13


@pytest.mark.parametrize(("on_hang_up", "used"), [("reserved", 100), ("count", PROMPT + 3)])
async def test_a_stream_that_was_hung_up_on_costs_what_the_policy_says(rig: Rig, on_hang_up: str, used: int) -> None:
    rig.usage = {"on_hang_up": on_hang_up}
    rig.capabilities = Capability.NOTHING
    exchange, _ = await rig.ask({**BODY, "stream": True})
    await rig.send(exchange, ResponseHeaders(200, SSE))
    await rig.send(exchange, ResponseBody(chunk("one two") + chunk(" three") + b"data: {"))
    await rig.carry_out(exchange.close(Cause.ABORTED))
    assert await rig.used("user-day:research/ann") == used


@pytest.mark.parametrize(("on_hang_up", "used"), [("reserved", 100), ("count", 9 + 3)])
async def test_the_usage_that_anthropic_reports_first_is_not_taken_for_the_sum(rig: Rig, on_hang_up: str, used: int) -> None:
    rig.usage = {"on_hang_up": on_hang_up}
    rig.capabilities = Capability.NOTHING
    exchange, _ = await rig.ask({**BODY, "stream": True}, "/v1/messages")
    await rig.send(exchange, ResponseHeaders(200, SSE))
    start = {"type": "message_start", "message": {"usage": {"input_tokens": 9, "output_tokens": 1}}}
    delta = {"type": "content_block_delta", "delta": {"type": "text_delta", "text": "one two three"}}
    events = b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in (start, delta))
    await rig.send(exchange, ResponseBody(events))
    held = await rig.used("user-day:research/ann")
    await rig.carry_out(exchange.close(Cause.ABORTED))
    assert await rig.used("user-day:research/ann") == (held if on_hang_up == "reserved" else used)


@pytest.mark.parametrize("on_hang_up", ["reserved", "count"])
async def test_an_anthropic_stream_that_never_says_what_its_answer_used_is_not_free(rig: Rig, on_hang_up: str) -> None:
    rig.usage = {"on_hang_up": on_hang_up}
    rig.capabilities = Capability.NOTHING
    exchange, _ = await rig.ask({**BODY, "stream": True}, "/v1/messages")
    held = await rig.used("user-day:research/ann")
    await rig.send(exchange, ResponseHeaders(200, SSE))
    start = {"type": "message_start", "message": {"usage": {"input_tokens": 9, "output_tokens": 0}}}
    delta = {"type": "content_block_delta", "delta": {"type": "text_delta", "text": "one two three"}}
    end = {"type": "message_stop"}
    events = b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in (start, delta, end))
    await rig.send(exchange, ResponseBody(events, end=True))
    await rig.carry_out(exchange.close(Cause.COMPLETED))
    assert await rig.used("user-day:research/ann") == (held if on_hang_up == "reserved" else 9 + 3)


NO_COUNT: list[dict[str, Any]] = [
    {"prompt_tokens": 8},
    *({"prompt_tokens": 8, "completion_tokens": count} for count in (None, -5, "5", 1e300)),
    {"total_tokens": 50},
]


@pytest.mark.parametrize("usage", NO_COUNT, ids=str)
async def test_usage_without_a_count_of_the_answer_is_none_whoever_reads_it(rig: Rig, usage: dict[str, Any]) -> None:
    rig.capabilities = Capability.NOTHING
    exchange, answer = await rig.ask()
    await rig.send(exchange, ResponseHeaders(200, JSON))
    await rig.send(exchange, ResponseBody(json.dumps({"usage": usage}).encode(), end=True))
    here = await rig.carry_out(exchange.close(Cause.COMPLETED))
    assert await rig.used("user-day:research/ann") == 100
    rig.capabilities = Capability.ACCESS_LOG
    exchange, answer = await rig.ask()
    assert isinstance(answer, Proceed)
    exchange.close(Cause.HANDED_OFF)
    read = {name: value for name, value in usage.items() if value is not None}
    there = await rig.carry_out(settlement(Finished(answer.metadata, read, 200, True)))
    assert await rig.used("user-day:research/ann") == 200
    assert [one.members["outcome"] for one in (*here, *there) if one.kind == "settlement"] == ["kept", "kept"]


@pytest.mark.parametrize("tokens", [10**13, 2**53 - 1])
async def test_a_lease_ends_however_much_its_usage_says(rig: Rig, tokens: int) -> None:
    rig.capabilities = Capability.NOTHING
    at_once = {"name": "at-once", "per": ["team"], "limit": {"concurrency": 1}}
    rig.budgets = [TOKENS_A_DAY, {"name": "cost", "per": ["team"], "limit": {"usd": 1}, "window": "day"}, at_once]
    exchange, _ = await rig.ask()
    await rig.send(exchange, ResponseHeaders(200, JSON))
    usage = {"prompt_tokens": 8, "completion_tokens": tokens}
    await rig.send(exchange, ResponseBody(json.dumps({"usage": usage}).encode(), end=True))
    records = await rig.carry_out(exchange.close(Cause.COMPLETED))
    assert [one.members["outcome"] for one in records if one.kind == "settlement"] == ["settled"]
    assert await rig.used("at-once:research", "concurrency", HELD) == 0
    assert await rig.used("cost:research", "nano_usd") == AMOUNT_MAX


async def test_a_stream_whose_usage_has_no_count_of_the_answer_costs_its_words(rig: Rig) -> None:
    rig.capabilities = Capability.NOTHING
    exchange, _ = await rig.ask({**BODY, "stream": True})
    await rig.send(exchange, ResponseHeaders(200, SSE))
    usage = events_of({"choices": [], "usage": {"prompt_tokens": 8, "completion_tokens": None}})
    await rig.send(exchange, ResponseBody(chunk("one two three") + usage, end=True))
    await rig.carry_out(exchange.close(Cause.COMPLETED))
    assert await rig.used("user-day:research/ann") == 8 + 3


def events_of(*documents: dict[str, Any]) -> bytes:
    return b"".join(b"data: " + json.dumps(document).encode() + b"\n\n" for document in documents)


BEGUN = {"type": "message_start", "message": {"usage": {"input_tokens": 9, "output_tokens": 1}}}
SAID = {"type": "content_block_delta", "delta": {"type": "text_delta", "text": "one two three"}}
OVERLOADED = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}


@pytest.mark.parametrize("on_hang_up", ["reserved", "count"])
@pytest.mark.parametrize("end", [OVERLOADED, {"type": "message_stop"}], ids=lambda end: str(end["type"]))
async def test_an_anthropic_stream_that_breaks_off_is_not_nearly_free(rig: Rig, end: dict[str, Any], on_hang_up: str) -> None:
    rig.usage = {"on_hang_up": on_hang_up}
    rig.capabilities = Capability.NOTHING
    exchange, _ = await rig.ask({**BODY, "stream": True}, "/v1/messages")
    held = await rig.used("user-day:research/ann")
    await rig.send(exchange, ResponseHeaders(200, SSE))
    await rig.send(exchange, ResponseBody(events_of(BEGUN, SAID, end), end=True))
    await rig.carry_out(exchange.close(Cause.COMPLETED))
    assert await rig.used("user-day:research/ann") == (held if on_hang_up == "reserved" else 9 + 3)


@pytest.mark.parametrize("cause", [Cause.COMPLETED, Cause.ABORTED])
async def test_an_anthropic_stream_that_has_told_its_sum_costs_that(rig: Rig, cause: Cause) -> None:
    rig.capabilities = Capability.NOTHING
    exchange, _ = await rig.ask({**BODY, "stream": True}, "/v1/messages")
    await rig.send(exchange, ResponseHeaders(200, SSE))
    told = {"type": "message_delta", "usage": {"output_tokens": 40}}
    await rig.send(exchange, ResponseBody(events_of(BEGUN, SAID, told), end=cause is Cause.COMPLETED))
    await rig.carry_out(exchange.close(cause))
    assert await rig.used("user-day:research/ann") == 49


async def test_a_stream_that_reports_its_usage_is_settled_by_it(rig: Rig) -> None:
    rig.capabilities = Capability.NOTHING
    exchange, _ = await rig.ask({**BODY, "stream": True})
    await rig.send(exchange, ResponseHeaders(200, SSE))
    usage = b"data: " + json.dumps({"choices": [], "usage": USAGE}).encode() + b"\n\n"
    await rig.send(exchange, ResponseBody(chunk("one two") + usage + b"data: [DONE]\n\n"))
    await rig.carry_out(exchange.close(Cause.ABORTED))
    assert await rig.used("user-day:research/ann") == 13


async def test_while_the_store_is_down_requests_are_refused(rig: Rig) -> None:
    await rig.store.close()
    exchange, answer = await rig.ask()
    assert isinstance(answer, Refuse) and answer.status == 503
    assert error_of(answer)["code"] == "budget.unavailable" and answer.headers["retry-after"] == "1"
    assert [type(effect) for effect in money(exchange.close())] == [Release]  # the store may have it all the same


async def test_while_the_store_is_down_requests_go_on_where_the_policy_says_so(rig: Rig) -> None:
    rig.settings = {"on_store_down": "open"}
    await rig.store.close()
    exchange, answer = await rig.ask()
    assert isinstance(answer, Proceed) and answer.last
    terms = read(answer.metadata["lease"])
    assert terms is not None and terms.most == Usage(PROMPT, 92)  # if the store took it all the same, it is settled
    assert money(exchange.close()) == []
    record = exchange.decision.steps[-2]
    assert (record["filter"], record["reason"]) == ("budget", "budget.unavailable")


@pytest.mark.parametrize(("percent", "admitted"), [(100, True), (1, False)])
async def test_while_the_store_is_down_a_worker_admits_what_its_allowance_holds(rig: Rig, percent: int, admitted: bool) -> None:
    rig.settings = {"on_store_down": "local", "local_percent": percent}
    await rig.store.close()
    exchange, answer = await rig.ask()
    assert isinstance(answer, Proceed if admitted else Refuse)
    reasons = [step["reason"] for step in exchange.decision.steps if step["filter"] == "budget"]
    assert reasons == ["budget.reserved" if admitted else "budget.unavailable"]


async def test_a_reservation_whose_reply_never_came_is_given_back(rig: Rig) -> None:
    class Deaf:
        """Takes the reservation, and never says so."""

        def __init__(self, store: Store) -> None:
            self._store = store

        def __getattr__(self, name: str) -> Any:
            return getattr(self._store, name)

        async def reserve(self, *args: Any, **named: Any) -> None:
            await self._store.reserve(*args, **named)
            await asyncio.Event().wait()

    rig.settings = {"timeout_ms": 1}
    real = rig.store
    rig.store = Deaf(real)  # type: ignore[assignment]
    exchange, answer = await rig.ask()
    assert error_of(answer)["code"] == "budget.failed"
    assert await rig.used("user-day:research/ann") == 100
    await rig.carry_out(exchange.close())
    assert await rig.used("user-day:research/ann") == 0
