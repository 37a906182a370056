"""Many paced streams at once: each event's delay from model to caller, time to first token, CPU, and how many a gateway holds."""

import itertools
import time
from collections.abc import Iterator, Mapping, Sequence
from statistics import median, quantiles

import httpx
import msgspec

from tests.bench.processes import cpu_by_part
from tests.bench.rounds import Gateway, rest

from .model import RATE
from .streams import Stream, together

CROWDS = (5, 20, 50, 100, 200)
HELD_MS = 500.0
"""A gateway holds a crowd when the last events of 9 in 10 streams come within this time: behind them nothing is held back to be
searched, so what is late there is work that was not done in time."""

PATIENCE = 3.0  # seconds after a stream's last event is due
RAMP = 1.0  # seconds within which all streams begin
_names: Iterator[int] = itertools.count(time.time_ns() // 1_000_000_000 * 1000)


class Paced(msgspec.Struct, frozen=True):
    """One crowd. Times in ms; last_ms: of the last events, p90; cpu_us: of all the gateway's processes, per event."""

    streams: int
    events: int
    first_ms: float
    p50_ms: float
    p99_ms: float
    last_ms: float
    cpu_us: float
    problems: list[str]

    @property
    def held(self) -> bool:
        """Whether the gateway kept up."""
        return not self.problems and self.last_ms <= HELD_MS


async def crowd(gateway: Gateway, model: str, streams: int, events: int) -> Paced:
    """`streams` streams of `events` events. `model` is the URL of the model server."""
    names = [letters(next(_names)) for _ in range(streams)]
    await rest(gateway, 0)
    before, settled = cpu_by_part(gateway.roots), await gateway.settled()
    seen = await together(gateway, names, events, over=RAMP, patience=events / RATE + PATIENCE)
    unfinished = [] if any(stream.problem for stream in seen) else await rest(gateway, settled + streams)
    after = cpu_by_part(gateway.roots)
    cpu = sum(after[part] - before.get(part, 0.0) for part in after)
    return figures(dict(zip(names, seen, strict=True)), await _sent(model), cpu, unfinished)


async def _sent(model: str) -> Mapping[str, Sequence[float]]:
    async with httpx.AsyncClient() as client:
        return msgspec.json.decode((await client.get(f"{model}/sent")).content, type=dict[str, list[float]])


def figures(seen: Mapping[str, Stream], sent: Mapping[str, Sequence[float]], cpu: float, unfinished: Sequence[str] = ()) -> Paced:
    """The figures of a crowd; the first event of each stream is its time to first token, the others have a delay."""
    problems = [*unfinished, *_problems(seen, sent)]
    late = [[got - left for left, got in _pairs(sent.get(name, ()), stream)] for name, stream in seen.items()]
    delays, last = [delay for each in late for delay in each], [each[-1] for each in late if each]
    first = [stream.arrived[0] - stream.asked for stream in seen.values() if stream.arrived]
    if len(delays) < 2 or not first:
        return Paced(len(seen), len(delays), 0.0, 0.0, 0.0, 0.0, 0.0, problems or ["no event came"])
    p99, p90 = quantiles(delays, n=100)[98], quantiles([*last, *last], n=10)[8]
    cpu_us = cpu * 1e6 / (len(delays) + len(first))
    return Paced(len(seen), len(delays), _ms(median(first)), _ms(median(delays)), _ms(p99), _ms(p90), round(cpu_us, 1), problems)


def _pairs(sent: Sequence[float], stream: Stream) -> Sequence[tuple[float, float]]:
    return list(zip(sent, stream.arrived, strict=False))[1:]


def _problems(seen: Mapping[str, Stream], sent: Mapping[str, Sequence[float]]) -> Iterator[str]:
    for name, stream in seen.items():
        if stream.problem:
            yield f"a stream of {len(seen)}: {stream.problem}"
        elif len(stream.arrived) != len(sent.get(name, ())):
            yield f"a stream of {len(seen)} had {len(stream.arrived)} words of {len(sent.get(name, ()))}"


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 3)


async def largest(gateway: Gateway, model: str, events: int) -> Paced:
    """The largest crowd of `CROWDS` that the gateway holds, else the smallest.

    They grow: after one that is too large a gateway is long at work.
    """
    found = await crowd(gateway, model, CROWDS[0], events)
    for streams in CROWDS[1:]:
        if not found.held or not (larger := await crowd(gateway, model, streams, events)).held:
            break
        found = larger
    return found


def smaller(crowds: Sequence[Paced]) -> int:
    """Streams of the next smaller crowd, where one of these was not held, which are of one size; 0: there is none, or no need."""
    if all(crowd.held for crowd in crowds):
        return 0
    return max((streams for streams in CROWDS if streams < crowds[0].streams), default=0)


def letters(number: int) -> str:
    """A number without digits, which filters would look at."""
    digits = []
    while number:
        number, digit = divmod(number, 26)
        digits.append(chr(97 + digit))
    return "".join(digits)
