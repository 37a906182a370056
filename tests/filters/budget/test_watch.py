"""A lease that grows with its stream: how far ahead it asks, what it holds back, and when it ends the stream."""

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import pytest

from headrace.ext_proc.core.ledger import Admitted, Exhausted
from headrace.ext_proc.core.ports import StoreUnavailable
from headrace.ext_proc.core.session import EndStream
from headrace.ext_proc.core.sse import SseEvent
from headrace.ext_proc.core.verdict import Reply
from headrace.filters.budget import watch as watching
from headrace.filters.budget.watch import SMALLEST, TRIES, Answer, Watch

REFUSED = Exhausted(0, (0,), 0)
ENDED = Reply(429, "budget.exhausted", "over")


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "RETRY_S", 0.0)


class Store:
    """Answers extensions as it is told to, when it is told to; without an answer it holds everything."""

    def __init__(self, *answers: Answer | Exception) -> None:
        self.asked: list[int] = []
        self._answers = list(answers)
        self.open = asyncio.Event()
        self.open.set()

    async def extend(self, tokens: int) -> Answer:
        self.asked.append(tokens)
        await self.open.wait()
        answer = self._answers.pop(0) if self._answers else Admitted((1,))
        if isinstance(answer, Exception):
            raise answer
        return answer


def watch(store: Store, *, held: int = 32, step: int = 32, fails_open: bool = False) -> Watch:
    """A word is a token."""
    return Watch(
        held=held,
        step=step,
        count=lambda words: len(words.split()),
        extend=store.extend,
        ended=lambda refused: ENDED if refused else Reply(429, "budget.lapsed", "over"),
        fails_open=fails_open,
    )


def says(words: int, **members: Any) -> SseEvent:
    return SseEvent.of(json.dumps({"choices": [{"delta": {"content": "word " * words}}], **members}))


async def stream(watched: Watch, *events: SseEvent) -> Sequence[SseEvent]:
    """What is passed on of events that come one by one, the store having time to answer between them."""
    passed: list[SseEvent] = []
    for event in events:
        passed += watched.on_event(event)
        await turns()
    return passed


async def turns() -> None:
    """The store, where it answers, does so within a turn of the loop."""
    for _ in range(6):
        await asyncio.sleep(0)


async def ends(watched: Watch, *events: SseEvent) -> Reply:
    with pytest.raises(EndStream) as ended:
        await stream(watched, *events)
    return ended.value.reply


async def test_more_is_asked_for_half_a_step_ahead() -> None:
    store = Store()
    events = [says(1) for _ in range(100)]
    assert await stream(watch(store), *events) == events
    assert store.asked == [64, 96, 128]


async def test_what_comes_while_the_store_is_asked_is_passed_on_and_asked_for_next() -> None:
    store = Store()
    store.open.clear()
    watched = watch(store)
    events = [says(30), says(70), says(1)]
    assert await stream(watched, *events) == events
    assert store.asked == [64]
    store.open.set()
    await turns()
    assert store.asked == [64, 133]
    watched.close()


async def test_a_stream_that_ends_while_the_store_is_asked_asks_no_more() -> None:
    store = Store()
    store.open.clear()
    watched = watch(store)
    await stream(watched, says(30))
    watched.close()
    store.open.set()
    await turns()
    assert store.asked == [64]


async def test_an_event_larger_than_a_step_is_asked_for_as_it_is() -> None:
    store = Store()
    await stream(watch(store), says(1000))
    assert store.asked == [1032]


async def test_a_step_that_no_budget_holds_is_halved_until_the_stream_ends_with_what_was_held() -> None:
    store = Store(REFUSED, REFUSED, REFUSED)
    watched = watch(store, held=64, step=64)
    events = [says(1) for _ in range(64)]
    assert await stream(watched, *events) == events
    assert store.asked == [128, 96, 80]
    assert await ends(watched, says(1)) == ENDED


async def test_a_smaller_step_that_is_held_goes_on() -> None:
    store = Store(REFUSED, Admitted((1,)), REFUSED)
    watched = watch(store, held=32, step=32)
    events = [says(1) for _ in range(48)]
    assert await stream(watched, *events) == events
    assert store.asked == [64, 48, 64]
    assert await ends(watched, says(1)) == ENDED
    assert SMALLEST == 16


async def test_a_lease_that_is_gone_ends_the_stream() -> None:
    assert (await ends(watch(Store(None)), says(20), says(20))).reason == "budget.lapsed"


async def test_a_store_that_is_away_ends_the_stream_after_some_tries() -> None:
    store = Store(*[StoreUnavailable("away")] * TRIES)
    watched = watch(store)
    events = [says(10) for _ in range(3)]
    assert await stream(watched, *events) == events
    assert (await ends(watched, *(says(1) for _ in range(10)))).reason == "budget.unavailable"
    assert len(store.asked) == TRIES


async def test_a_store_that_comes_back_in_time_is_no_harm() -> None:
    store = Store(*[StoreUnavailable("away")] * (TRIES - 1))
    events = [says(1) for _ in range(60)]
    assert await stream(watch(store), *events) == events


async def test_a_policy_that_fails_open_lets_a_stream_go_on_without_the_store() -> None:
    store = Store(StoreUnavailable("away"))
    events = [says(10) for _ in range(30)]
    assert await stream(watch(store, fails_open=True), *events) == events
    assert len(store.asked) == 1


async def test_usage_that_the_provider_reports_on_the_way_counts_where_it_is_more() -> None:
    store = Store()
    await stream(watch(store), says(1, usage={"prompt_tokens": 1, "completion_tokens": 20}), says(1))
    assert store.asked == [64]
    quiet = Store()
    await stream(watch(quiet), says(1, usage={"prompt_tokens": 1, "completion_tokens": 1}), SseEvent.of("[DONE]"))
    assert quiet.asked == []
