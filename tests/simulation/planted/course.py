"""Bugs of the course of an exchange."""

from collections.abc import Callable, Sequence
from typing import Any

from headrace.ext_proc.core.exchange import Exchange, State
from headrace.ext_proc.core.verdict import PASS, Verdict
from headrace.ext_proc.engine import guard
from headrace.ext_proc.engine.effects import EffectRunner
from headrace.ext_proc.envoy.processor import Processor, ProcessStream
from tests.simulation.loop import OWNER
from tests.simulation.planted.patching import in_place_of

Right = Callable[..., Any]


@in_place_of((guard, "failure"))
def passes_where_a_filter_fails(right: Right, link: Any) -> Verdict:
    """A filter that fails is passed over, whatever its policy says."""
    return PASS


@in_place_of((ProcessStream, "receive"))
async def leaves_a_stream_cleanly(right: Right, stream: ProcessStream, data: bytes) -> Sequence[bytes]:
    """Where an answer is streamed, the gateway is told to go on alone."""
    messages: Sequence[bytes] = await right(stream, data)
    stream.finished = stream.finished or stream._exchange.state is State.STREAMING
    return messages


@in_place_of((Exchange, "close"))
def follows_the_policy_in_force(right: Right, exchange: Exchange, *args: Any) -> Any:
    """The record names the policy that is in force when the exchange ends."""
    worker: Any = OWNER.get()
    exchange.decision.revision = worker.holder.current.revision
    return right(exchange, *args)


@in_place_of((EffectRunner, "submit"))
def records_twice(right: Right, runner: EffectRunner, effects: Sequence[Any]) -> None:
    """What an exchange causes is submitted once more where the store is slow."""
    right(runner, effects)
    if runner.depth > 1:
        right(runner, effects)


@in_place_of((guard, "deadline_at"))
def waits_for_a_filter_for_ever(right: Right, time: float, now: float) -> Any:
    """A filter has all the time that it takes."""
    return right(now + 1e9, now)


@in_place_of((Processor, "_finish"))
def keeps_streams_open(right: Right, processor: Processor, effects: Sequence[Any], recording: Any = None) -> None:
    """A stream that was refused still counts as open."""
    right(processor, effects, recording)
    if any(getattr(effect, "members", {}).get("outcome") == "refused" for effect in effects):
        processor.active += 1
