"""A lease that grows with its stream: how far ahead it asks, what it holds back, and when it ends the stream."""

import json
from typing import Any

from headrace.ext_proc.core.ledger import Admitted, Exhausted
from headrace.ext_proc.core.ports import StoreUnavailable
from headrace.ext_proc.core.sse import SseEvent
from headrace.ext_proc.core.verdict import Reply
from headrace.filters.budget.watch import SMALLEST, Answer, Watch

REFUSED = Exhausted(0, (0,), 0)
ENDED = Reply(429, "budget.exhausted", "over")


class Store:
    """Answers extensions as it is told to; without an answer it holds everything."""

    def __init__(self, *answers: Answer | Exception) -> None:
        self.asked: list[int] = []
        self._answers = list(answers)

    async def extend(self, tokens: int) -> Answer:
        self.asked.append(tokens)
        answer = self._answers.pop(0) if self._answers else Admitted((1,))
        if isinstance(answer, Exception):
            raise answer
        return answer


def watch(store: Store, *, held: int = 32, step: int = 32, most: int | None = None, fails_open: bool = False) -> Watch:
    """A word is a token."""
    return Watch(
        held=held,
        step=step,
        most=most,
        count=lambda words: len(words.split()),
        extend=store.extend,
        ended=lambda refused: ENDED if refused else Reply(429, "budget.lapsed", "over"),
        fails_open=fails_open,
    )


def says(words: int, **members: Any) -> SseEvent:
    return SseEvent.of(json.dumps({"choices": [{"delta": {"content": "word " * words}}], **members}))


async def stream(watched: Watch, *events: SseEvent) -> Reply | None:
    """Events one by one; the lease grows between them where it is short. What ends the stream, if anything does."""
    for event in events:
        if (reply := watched.follow(event)) is not None:
            return reply
        if watched.is_short:
            await watched.grow()
    return None


async def test_more_is_asked_for_half_a_step_ahead() -> None:
    store = Store()
    assert await stream(watch(store), *[says(1)] * 100) is None
    assert store.asked == [64, 96, 128]


async def test_no_more_is_asked_for_than_the_request_allows() -> None:
    store = Store()
    assert await stream(watch(store, most=80), *[says(1)] * 80) is None
    assert store.asked == [64, 80]


async def test_an_answer_that_is_longer_than_allowed_is_held_all_the_same() -> None:
    store = Store()
    assert await stream(watch(store, held=20, most=20), *[says(1)] * 22) is None
    assert store.asked == [53]


async def test_an_event_larger_than_a_step_is_asked_for_as_it_is() -> None:
    store = Store()
    assert await stream(watch(store), says(1000), says(1)) is None
    assert store.asked == [1032]


async def test_a_step_that_no_budget_holds_is_halved_until_the_stream_ends_with_what_was_held() -> None:
    store = Store(REFUSED, REFUSED, REFUSED)
    watched = watch(store, held=64, step=64)
    assert await stream(watched, *[says(1)] * 64) is None
    assert store.asked == [128, 96, 80]
    assert await stream(watched, says(1)) == ENDED


async def test_a_smaller_step_that_is_held_goes_on() -> None:
    store = Store(REFUSED, Admitted((1,)), REFUSED)
    watched = watch(store, held=32, step=32)
    assert await stream(watched, *[says(1)] * 48) is None
    assert store.asked == [64, 48, 64]
    assert await stream(watched, says(1)) == ENDED
    assert SMALLEST == 16


async def test_a_lease_that_is_gone_ends_the_stream() -> None:
    ended = await stream(watch(Store(None)), says(20), says(20))
    assert ended is not None and ended.reason == "budget.lapsed"


async def test_a_store_that_is_away_ends_the_stream_when_it_passes_what_is_held() -> None:
    store = Store(*[StoreUnavailable("away")] * 99)
    watched = watch(store)
    assert await stream(watched, *[says(1)] * 32) is None
    assert store.asked == [64] * 16
    ended = await stream(watched, says(1), says(1))
    assert ended is not None and ended.reason == "budget.unavailable"


async def test_a_store_that_comes_back_in_time_is_no_harm() -> None:
    store = Store(*[StoreUnavailable("away")] * 15)
    assert await stream(watch(store), *[says(1)] * 60) is None


async def test_a_policy_that_fails_open_lets_a_stream_go_on_without_the_store() -> None:
    store = Store(StoreUnavailable("away"))
    assert await stream(watch(store, fails_open=True), *[says(10)] * 30) is None
    assert len(store.asked) == 1


async def test_usage_that_the_provider_reports_on_the_way_counts_where_it_is_more() -> None:
    store = Store()
    await stream(watch(store), says(1, usage={"prompt_tokens": 1, "completion_tokens": 20}), says(1))
    assert store.asked == [64]
    quiet = Store()
    await stream(watch(quiet), says(1, usage={"prompt_tokens": 1, "completion_tokens": 1}), SseEvent.of("[DONE]"))
    assert quiet.asked == []
