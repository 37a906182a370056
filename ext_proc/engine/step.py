"""The one driver of exchanges: every adapter, the replay and the tests call it."""

from time import perf_counter_ns
from typing import Protocol

from headrace.ext_proc.core.events import Answer, Event
from headrace.ext_proc.core.exchange import Exchange
from headrace.ext_proc.core.seats import Resolution
from headrace.ext_proc.engine.guard import begun


class Steps(Protocol):
    """`step` of one exchange."""

    async def __call__(self, event: Event, *, deadline: float) -> Answer: ...


async def step(exchange: Exchange, event: Event, *, deadline: float) -> Answer:
    """The exchange's answer to `event`. deadline: loop time in seconds.

    Raises ProtocolError when the exchange's state does not allow the event.
    """
    started = perf_counter_ns()
    exchange.receive(event)
    while (ask := exchange.next_ask()) is not None:
        resolution = begun(ask, deadline)
        exchange.resolve(resolution if isinstance(resolution, Resolution) else await resolution)
    exchange.decision.elapsed_us += (perf_counter_ns() - started) / 1000
    return exchange.answer()
