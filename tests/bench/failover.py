"""What a failover adds, and what is charged: `python -m tests.bench.failover [requests]`. One caller, whole path, one at a time.

Each request that fails over is followed by one of the other pool's own model, which goes there at once: they differ by the attempt
that failed. That attempt fails at once, or is waited for as long as its first token may take. In between the first pool answers
somebody else, so that Envoy does not leave it out; only the pool that is down is left out. A pool that dies in mid-stream is not
passed over: there the time is from its death to the caller's cut.
"""

import asyncio
import contextlib
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from statistics import quantiles
from typing import Any, Final, NamedTuple

import httpx

from tests.e2e.halfway import DELTA, DONE, Halfway
from tests.e2e.site import Caller, chat
from tests.e2e.test_failover import ANSWER, PROMPT, Failing, failing_site
from tests.e2e.test_upstream_failures import closed_port
from tests.envoy.stub_upstream import Received, Reply

REQUESTS: Final = 500
WARM_UP: Final = 20
CAP: Final = 20
FIRST_TOKEN_S: Final = 2.0
"""Much longer than a sound pool ever takes on a machine that does other work, too."""
ASKED: Final = chat(max_tokens=CAP)
STREAMED: Final = ASKED | {"stream": True}

Answer = Callable[[Received, Reply], Awaitable[None]]


class Case(NamedTuple):
    """Milliseconds of each request, and of each that needed no failover. waited: for the first token, in each of them. tokens:
    charged for all of them.
    """

    name: str
    times: Sequence[float]
    tokens: int
    direct: Sequence[float] = ()
    waited: float = 0.0


async def sound(_: Received, reply: Reply) -> None:
    await reply.begin()
    await reply.send(DELTA + DONE)
    await reply.end()


def says(status: int) -> Answer:
    async def answer(_: Received, reply: Reply) -> None:
        reply.status = status
        await reply.whole(b'{"error": {"message": "scripted"}}')

    return answer


async def late(_: Received, reply: Reply) -> None:
    await reply.begin()
    await reply.gone()


async def measure(requests: int = REQUESTS) -> Sequence[Case]:
    """Raises AssertionError where another pool than the expected one answered, or a request was not charged exactly once."""
    few = max(2, requests // 5)  # these take long: the wait for a first token, and the second after which Envoy closes a connection
    async with failing_site() as site:
        found = [
            await _failing(site, "it says 429", requests, says(429)),
            await _failing(site, "it says 503", requests, says(503)),
            await _failing(site, "it says 503 to a stream", requests, says(503), streamed=True),
        ]
    async with failing_site(first_token_timeout=FIRST_TOKEN_S) as site:
        slow = await _failing(site, "its first token is late", few, late, streamed=True)
        found += [slow._replace(waited=FIRST_TOKEN_S * 1000), await _dying(site, few)]
    async with _down() as site:
        return [*found, await _failing(site, "it is down, and left out", requests)]


@contextlib.asynccontextmanager
async def _down() -> AsyncIterator[Failing]:
    with closed_port() as port:
        async with failing_site(f"http://127.0.0.1:{port}") as site:
            yield site


async def _failing(site: Failing, name: str, requests: int, fails: Answer | None = None, *, streamed: bool = False) -> Case:
    """fails: what the first pool does; None for one that nobody reaches."""
    warm, other = await site.site.caller("warm"), await site.site.caller("other")
    caller = await site.site.caller("".join(filter(str.isalnum, name)))
    document = STREAMED if streamed else ASKED
    for _ in range(min(WARM_UP, requests)):
        await _ask(site, warm, document | {"model": "cheap-model"}, "large")
        await _ask(site, warm, document, "large" if fails is None else "standard", fails and sound)
    asked, direct = [], []
    for _ in range(requests):
        if fails is not None:
            await _ask(site, other, STREAMED, "standard", sound)
        asked.append(await _ask(site, caller, document, "large", fails))
        direct.append((await _ask(site, other, document | {"model": "cheap-model"}, "large"))[0])
    return (await _case(site, name, caller, asked))._replace(direct=direct)


async def _dying(site: Failing, requests: int) -> Case:
    other, caller = await site.site.caller("other"), await site.site.caller("dying")
    cut = []
    for _ in range(requests):
        await _ask(site, other, STREAMED, "standard", sound)
        cut.append(await _cut(site, caller))
    return await _case(site, "it dies in mid-stream: cut off", caller, cut, each=PROMPT + CAP)


async def _cut(site: Failing, caller: Caller) -> tuple[float, str]:
    halfway = Halfway()
    site.primary.answer = halfway.answer
    async with site.site.stream(caller, STREAMED) as answer:
        chunks = answer.aiter_bytes()
        await anext(chunks)
        died = time.perf_counter()
        halfway.die()
        with contextlib.suppress(httpx.RemoteProtocolError):
            assert not [chunk async for chunk in chunks]
        return (time.perf_counter() - died) * 1000, answer.headers["x-headrace-exchange"]


async def _ask(
    failing: Failing, caller: Caller, document: dict[str, Any], by: str, first: Answer | None = None
) -> tuple[float, str]:
    """Milliseconds, and the exchange's id. first: what the first pool does, where it is asked."""
    failing.primary.answer = first or failing.primary.answer
    started = time.perf_counter()
    answer = await failing.site.post(caller, document)
    took = (time.perf_counter() - started) * 1000
    assert (answer.status_code, answer.headers["x-headrace-route"]) == (200, by), answer.text
    return took, answer.headers["x-headrace-exchange"]


async def _case(
    failing: Failing, name: str, caller: Caller, asked: Sequence[tuple[float, str]], each: int = PROMPT + ANSWER
) -> Case:
    """each: tokens that one request is to be charged."""
    exchanges = [exchange for _, exchange in asked]
    await failing.site.settled(exchanges)
    records = [record["exchange"] for record in await failing.site.records("settlement")]
    tokens = await failing.site.spent(caller)
    assert sorted(one for one in records if one in set(exchanges)) == sorted(exchanges), f"{name}: not one settlement each"
    assert tokens == each * len(asked), f"{name}: {tokens} tokens were charged, not {each} for each of {len(asked)} requests"
    return Case(name, [took for took, _ in asked], tokens)


def summary(found: Sequence[Case]) -> list[str]:
    """A line a case: median and 99th percentile in ms, what of them the failover added, and the charges."""
    return [f"{case.name:32} {_spread(case.times)}  {_added(case):31}  {_charged(case)}" for case in found]


def _spread(times: Sequence[float]) -> str:
    p50, p99 = _cuts(times)
    return f"p50 {p50:7.2f} ms  p99 {p99:7.2f} ms"


def _added(case: Case) -> str:
    if not case.direct:
        return ""
    (p50, p99), (direct50, direct99) = _cuts(case.times), _cuts(case.direct)
    return f"added: p50 {p50 - case.waited - direct50:+6.2f}  p99 {p99 - case.waited - direct99:+6.2f}"


def _charged(case: Case) -> str:
    return f"{len(case.times)} requests, each charged once: {case.tokens} tokens"


def _cuts(times: Sequence[float]) -> tuple[float, float]:
    cuts = quantiles(times, n=100)
    return cuts[49], cuts[98]


if __name__ == "__main__":
    print("\n".join(summary(asyncio.run(measure(int(sys.argv[1]) if len(sys.argv) > 1 else REQUESTS)))))
