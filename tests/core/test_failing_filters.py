"""Filters that fail, run out of time, or are in shadow, and a failed choice between filters."""

import asyncio
from typing import Any

import pytest

from headrace.ext_proc.core.effects import Cause
from headrace.ext_proc.core.events import Answer, Refuse
from headrace.ext_proc.core.exchange import Exchange
from headrace.ext_proc.core.facts import Fact
from headrace.ext_proc.core.request import Request
from headrace.ext_proc.core.session import POLICY, EndStream, Link
from headrace.ext_proc.core.verdict import PASS, Continue, Edits
from headrace.ext_proc.engine.guard import shield
from tests.kit import (
    DENIED,
    ChainPolicy,
    body,
    decision_in,
    exchange_of,
    filter_of,
    last,
    noting,
    policy_of,
    post,
    proceeds,
    told,
)

from .asking import reads, refused

FAILING = [
    {"open": ValueError()},
    {"open": EndStream(DENIED)},
    {"on_headers": ValueError()},
    {"on_request": ValueError()},
    {"on_request": None},
]


@pytest.mark.parametrize("script", FAILING, ids=str)
async def test_a_filter_that_fails_closed_refuses_with_503_in_its_name(script: dict[str, Any]) -> None:
    exchange = exchange_of(Link("fragile", reads(**script)))
    reply = refused(await _until_refused(exchange))
    assert (reply.status, reply.reason, reply.headers["retry-after"]) == (503, "fragile.failed", "1")
    assert exchange.decision.steps[-1]["outcome"] == "failed"


async def _until_refused(exchange: Exchange) -> Answer:
    first = await last(exchange, post())
    return first if isinstance(first, Refuse) else await last(exchange, body())


@pytest.mark.parametrize("script", FAILING, ids=str)
@pytest.mark.parametrize("way", ["open", "shadow"])
async def test_a_filter_that_fails_open_or_in_shadow_is_passed_over(script: dict[str, Any], way: str) -> None:
    link = Link("fragile", reads(**script), shadow=way == "shadow", fail_open=way == "open")
    exchange = exchange_of(link, reads())
    assert proceeds(await last(exchange, post(), body())).last
    assert "failed" in [step["outcome"] for step in exchange.decision.steps]


async def test_a_filter_out_of_time_counts_as_failed() -> None:
    async def forever(_: Request) -> Continue:
        await asyncio.Event().wait()
        return PASS

    exchange = exchange_of(Link("slow", reads(on_request=forever), timeout_ms=1))
    assert refused(await last(exchange, post(), body())).reason == "slow.failed"
    assert exchange.decision.steps[-1]["error"] == "TimeoutError"


async def test_a_choice_that_fails_refuses_the_request() -> None:
    class Broken:
        def choose(self, request: Request) -> Link | None:
            raise RuntimeError("overrides cannot be built")

    opened = reads()
    chain = [*policy_of(opened).chain, Broken()]
    exchange = Exchange("e1", ChainPolicy(chain), shield)
    reply = refused(await last(exchange, post()))
    assert (reply.status, reply.reason) == (503, "policy.failed")
    exchange.close()
    assert [outcome.cause for outcome in opened.session.outcomes] == [Cause.REFUSED]


def test_the_link_that_stands_for_the_policy_opens_nothing() -> None:
    assert POLICY.filter.open(Request("e1", post().headers, None)) is None


async def test_a_shadow_filter_is_recorded_and_changes_nothing() -> None:
    fact: Fact[str] = Fact("seen")
    edits = Edits(set_headers={"x-a": "1"})
    told_by_it = Continue(edits, facts={fact: "yes"}, metadata={"k": 1}, note={"spans": 2}, reason="would")
    shadow = Link("watch", reads(on_headers=told_by_it, on_request=DENIED), shadow=True)
    seen: list[str | None] = []
    exchange = exchange_of(shadow, reads(on_request=noting(seen, lambda request: request.facts.get(fact))))
    answers = await told(exchange, post(), body())
    assert dict(proceeds(answers[0]).edits.set_headers) == {}
    assert "k" not in proceeds(answers[1]).metadata
    assert seen == ["yes"]
    first, second = exchange.decision.steps[0], exchange.decision.steps[2]
    assert (first["outcome"], first["mode"], first["note"], first["reason"]) == ("continue", "shadow", {"spans": 2}, "would")
    assert first["metadata"] == {"k": 1}
    assert (second["outcome"], second["mode"], second["reason"]) == ("would_reply", "shadow", "test.denied")


@pytest.mark.parametrize("error", [ValueError(), EndStream(DENIED)], ids=repr)
async def test_a_session_whose_close_fails_does_not_keep_others_from_closing(error: Exception) -> None:
    first, second = filter_of(), filter_of(close=error)
    exchange = exchange_of(first, second)
    await told(exchange, post())
    record = decision_in(exchange.close())
    assert len(first.session.outcomes) == 1
    assert record["steps"][-1] == {"filter": "f1", "phase": "close", "outcome": "failed", "reason": "f1.failed", "us": 0.0}
