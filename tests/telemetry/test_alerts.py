"""Warnings of budgets reach the webhook signed, again and again until somebody takes them, and never without bound."""

import asyncio
import base64
import hmac
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from headrace.ext_proc.core.effects import Record
from headrace.ext_proc.core.ledger import Fixed, Sliding
from headrace.ext_proc.engine.policy.webhooks import Webhook
from headrace.ext_proc.telemetry import alerts
from headrace.ext_proc.telemetry.alerts import Alerts, event_of
from tests.envoy.stub_upstream import Received, Reply, StubUpstream
from tests.telemetry.records import NOW_MS, FixedClock
from tests.transcripts.site import WAIT, until

KEY = b"k" * 32
REACHED = {
    "organisation": "acme",
    "budget": "team-month",
    "counter": "blue/ann",
    "unit": "nano_usd",
    "limit": 500_000_000_000,
    "threshold": 400_000_000_000,
    "used": 400_421_700_000,
    "window": Fixed(1_700_000_000_000, 1_700_000_060_000),
    "at_ms": NOW_MS,
}
WARNING = Record("budget_warning", REACHED)


@dataclass
class Receiver:
    """Answers with `statuses` one by one, then with 200."""

    statuses: list[int] = field(default_factory=list)
    seen: list[Received] = field(default_factory=list)

    async def answer(self, request: Received, reply: Reply) -> None:
        self.seen.append(request)
        reply.status = self.statuses.pop(0) if self.statuses else 200
        await reply.whole(b"{}", connection="close")
        await reply.hang_up()


@asynccontextmanager
async def hook(*statuses: int) -> AsyncIterator[tuple[Receiver, Alerts, list[str]]]:
    """A receiver, alerts that go to it, and what was dropped."""
    receiver, dropped = Receiver(list(statuses)), list[str]()
    async with StubUpstream("hook") as server:
        server.answer = receiver.answer
        told = Alerts(lambda: Webhook(f"{server.url}/hooks/a", KEY), FixedClock(), lambda: dropped.append("x"))
        try:
            yield receiver, told, dropped
        finally:
            await told.close()


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alerts, "FIRST_PAUSE", 0.0)


async def test_an_event_is_posted_with_a_signature_that_its_receiver_can_check() -> None:
    async with hook() as (receiver, told, dropped):
        told.observe(WARNING)
        told.observe(Record("settlement", {}))
        await until(lambda: bool(receiver.seen), "the event to arrive")
    (request,) = receiver.seen
    headers = request.headers
    assert request.path == "/hooks/a"
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + request.body
    expected = base64.b64encode(hmac.digest(KEY, signed, "sha256")).decode()
    assert headers["webhook-signature"] == f"v1,{expected}"
    assert headers["webhook-timestamp"] == str(NOW_MS // 1000)
    assert json.loads(request.body)["type"] == "budget.threshold_reached"
    assert dropped == []


async def test_an_event_that_is_not_taken_is_sent_again_with_its_id() -> None:
    async with hook(500, 429, 301) as (receiver, told, dropped):
        told.observe(WARNING)
        await until(lambda: len(receiver.seen) == 4, "the event to be taken")
    assert len({request.headers["webhook-id"] for request in receiver.seen}) == 1
    assert dropped == []


async def test_an_event_that_nobody_takes_is_given_up(caplog: pytest.LogCaptureFixture) -> None:
    async with hook(*[503] * alerts.TRIES) as (receiver, told, dropped):
        told.observe(WARNING)
        await until(lambda: bool(dropped), "the event to be given up")
    assert len(receiver.seen) == alerts.TRIES
    assert caplog.records[-1].__dict__["why"] == "it was not taken in 10 tries"


async def test_a_receiver_that_is_not_there_is_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    dropped: list[str] = []
    told = Alerts(lambda: Webhook("http://127.0.0.1:1/", KEY), FixedClock(), lambda: dropped.append("x"))
    told.observe(WARNING)
    await until(lambda: bool(dropped), "the event to be given up")
    await told.close()
    assert {record.message for record in caplog.records[1:-1]} == {"webhook not reached"}


async def test_no_more_wait_than_there_is_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alerts, "WAITING", 2)
    async with hook() as (receiver, told, dropped):
        for _ in range(5):
            told.observe(WARNING)
        assert len(dropped) == 3
        await until(lambda: len(receiver.seen) == 2, "those that found room")


async def test_what_is_under_way_when_the_service_ends_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alerts, "CLOSE_S", 0.0)
    monkeypatch.setattr(alerts, "FIRST_PAUSE", WAIT)
    async with hook(503) as (receiver, told, dropped):
        told.observe(WARNING)
        await until(lambda: bool(receiver.seen), "the first try")
        await told.close()
        assert dropped == ["x"]


async def test_without_a_webhook_it_is_only_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        told = Alerts(lambda: None, FixedClock(), pytest.fail)
        told.observe(WARNING)
        await told.close()
    assert [record.message for record in caplog.records] == ["budget threshold reached"]


async def test_a_policy_that_names_no_webhook_any_more_ends_the_tries() -> None:
    named: list[Webhook | None] = [Webhook("http://127.0.0.1:1/", KEY)]
    told = Alerts(lambda: named[0], FixedClock(), pytest.fail)
    told.observe(WARNING)
    named[0] = None
    await asyncio.wait(told._tasks)
    await told.close()


EVENTS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({}, {"threshold": "0.8", "limit": {"usd": "500"}, "used": {"usd": "400.4217"}}),
    ({"unit": "tokens", "limit": 3, "threshold": 2, "used": 2}, {"threshold": "0.6667", "limit": {"tokens": 3}}),
    ({}, {"window": {"from": "2023-11-14T22:13:20Z", "to": "2023-11-14T22:14:20Z"}}),
    ({"window": Sliding(3_600_000)}, {"window": {"sliding": 3600}}),
]


@pytest.mark.parametrize(("members", "expected"), EVENTS)
def test_what_an_event_says(members: dict[str, Any], expected: dict[str, Any]) -> None:
    event = event_of(REACHED | members)
    assert event["timestamp"] == "2023-11-14T22:13:30Z"
    assert event["data"].items() >= ({"organisation": "acme", "budget": "team-month", "counter": "blue/ann"} | expected).items()
