"""The driver: every ask of an event is answered before its answer is given."""

import asyncio

import pytest

from headrace.ext_proc.core.errors import ProtocolError
from headrace.ext_proc.core.needs import Needs
from headrace.ext_proc.core.request import Request
from headrace.ext_proc.core.verdict import PASS, Verdict
from headrace.ext_proc.engine.step import step
from tests.kit import body, exchange_of, filter_of, post, proceeds


async def test_filters_are_asked_one_after_another() -> None:
    order: list[str] = []

    def waits(name: str) -> object:
        async def hook(_: Request) -> Verdict:
            order.append(f"{name} begins")
            await asyncio.sleep(0)
            order.append(f"{name} ends")
            return PASS

        return hook

    exchange = exchange_of(filter_of(on_headers=waits("a")), filter_of(on_headers=waits("b")))
    answer = await step(exchange, post(), deadline=asyncio.get_running_loop().time() + 30)
    assert proceeds(answer).last
    assert order == ["a begins", "a ends", "b begins", "b ends"]


async def test_the_time_of_all_steps_is_added_up() -> None:
    exchange = exchange_of(filter_of(needs=Needs.REQUEST_BODY))
    deadline = asyncio.get_running_loop().time() + 30
    await step(exchange, post(), deadline=deadline)
    once = exchange.decision.elapsed_us
    await step(exchange, body(), deadline=deadline)
    assert exchange.decision.elapsed_us > once > 0


async def test_the_deadline_holds_for_every_filter_of_the_event() -> None:
    async def never(_: Request) -> Verdict:
        await asyncio.Event().wait()
        return PASS

    exchange = exchange_of(filter_of(on_headers=never))
    await step(exchange, post(), deadline=asyncio.get_running_loop().time() + 0.001)
    assert exchange.decision.steps[0]["error"] == "TimeoutError"


async def test_an_event_out_of_order_is_an_error() -> None:
    with pytest.raises(ProtocolError, match="RequestBody came while start"):
        await step(exchange_of(), body(), deadline=0.0)
