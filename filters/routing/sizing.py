"""How many servers a trace needs, with one pool for all requests and with pools by prompt size.

The model of a server is the published one for prompt-size pools (saving = α(1 − 1/ρ)): a server that takes requests of up to
`max_tokens` runs `kv_tokens // max_tokens` of them at once, since any of them may grow that long. A pool is one queue, first come
first served, before all the slots of its servers (G/G/c); a request keeps its slot for
`prompt / prefill + answer / decode` seconds. A pool has the fewest servers with which the given share of its requests waits no
longer than it may.
"""

import heapq
from collections.abc import Iterator, Sequence
from math import ceil
from typing import Final

import msgspec

from headrace.filters.routing.trace import Arrival

QUANTILE: Final = 0.99
"""Share of the requests that wait no longer than they may."""


class Server(msgspec.Struct, frozen=True):
    """kv_tokens: what its KV cache holds. prefill, decode: tokens per second, of a prompt and of one answer."""

    kv_tokens: int
    prefill: float
    decode: float

    def seconds(self, request: Arrival) -> float:
        """For which the request keeps its slot."""
        return request.prompt / self.prefill + request.answer / self.decode


class Sized(msgspec.Struct, frozen=True):
    """A pool. slots: of one server. load: slot-seconds of its requests. wait: seconds, at QUANTILE."""

    max_tokens: int
    slots: int
    requests: int
    load: float
    servers: int
    wait: float


class Comparison(msgspec.Struct, frozen=True):
    """One pool for all against pools by size. too_large: requests that no pool takes, which count nowhere.

    alpha, rho: of every pool but the largest, its share of the load, and its slots over the largest one's. published: Σ α(1 − 1/ρ),
    which leaves out what small pools lose by rounding and by queueing apart. saving: found; below 0 where pools cost more.
    """

    requests: int
    too_large: int
    one_pool: Sized
    pools: Sequence[Sized]
    servers_without: int
    servers_with: int
    saving: float
    alpha: Sequence[float]
    rho: Sequence[float]
    published: float


def compare(trace: Sequence[Arrival], limits: Sequence[int], server: Server, wait: float) -> Comparison:
    """trace: by arrival. limits: max_tokens of each pool, rising; none above what a server holds. wait: seconds."""
    fitting = [request for request in trace if request.tokens <= limits[-1]]
    one = sized(fitting, limits[-1], server, wait)
    pools = [sized(part, limit, server, wait) for part, limit in _parts(fitting, limits)]
    alpha = [pool.load / one.load if one.load else 0.0 for pool in pools[:-1]]
    rho = [pool.slots / one.slots for pool in pools[:-1]]
    with_pools = sum(pool.servers for pool in pools)
    return Comparison(
        requests=len(trace),
        too_large=len(trace) - len(fitting),
        one_pool=one,
        pools=pools,
        servers_without=one.servers,
        servers_with=with_pools,
        saving=1 - with_pools / one.servers if one.servers else 0.0,
        alpha=alpha,
        rho=rho,
        published=sum(share * (1 - 1 / ratio) for share, ratio in zip(alpha, rho, strict=True)),
    )


def _parts(trace: Sequence[Arrival], limits: Sequence[int]) -> Iterator[tuple[Sequence[Arrival], int]]:
    """The requests of every pool: each goes to the smallest that takes it."""
    for below, limit in zip([-1, *limits], limits, strict=False):
        yield [request for request in trace if below < request.tokens <= limit], limit


def sized(trace: Sequence[Arrival], max_tokens: int, server: Server, wait: float) -> Sized:
    """The fewest servers of one pool. More servers never let a request wait longer, so the number is found by halving."""
    slots = server.kv_tokens // max_tokens
    jobs = [(request.arrival, server.seconds(request)) for request in trace]
    load = sum(seconds for _, seconds in jobs)
    enough = _bound(jobs, slots, wait)
    few = 0 if not jobs else 1
    while few < enough:
        middle = (few + enough) // 2
        few, enough = (few, middle) if waited(jobs, middle * slots) <= wait else (middle + 1, enough)
    return Sized(max_tokens, slots, len(jobs), load, few, waited(jobs, few * slots))


def _bound(jobs: Sequence[tuple[float, float]], slots: int, wait: float) -> int:
    """Servers that are enough: doubled until they are. A slot for every request always is."""
    servers, most = min(1, len(jobs)), ceil(len(jobs) / slots)
    while servers < most and waited(jobs, servers * slots) > wait:
        servers = min(2 * servers, most)
    return servers


def waited(jobs: Sequence[tuple[float, float]], slots: int) -> float:
    """Seconds that QUANTILE of the jobs wait at most, first come first served. jobs: (arrival, seconds), by arrival."""
    free: list[float] = []
    waits = []
    for arrival, seconds in jobs:
        start = arrival if len(free) < slots else max(arrival, heapq.heappop(free))
        heapq.heappush(free, start + seconds)
        waits.append(start - arrival)
    return sorted(waits)[ceil(len(waits) * QUANTILE) - 1] if waits else 0.0
