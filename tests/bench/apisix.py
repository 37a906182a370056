"""`python -m tests.bench.apisix`: what Headrace adds behind nginx with the Lua plugin and behind Envoy, side by side. Prints JSON.

Requests: wrk, one connection, the full chain; p50 with Headrace less p50 of the same gateway without it. Chunks: a model that sends
its next event when the caller has the last one, and a policy that reads every event; the time of one event on its way, less the
same without Headrace. All run at the same time; one gateway after the other is measured, in an order that turns every round.
"""

import asyncio
import contextlib
import statistics
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from headrace.ext_proc.envoy.transport import DEFAULT
from tests.apisix.nginx import missing
from tests.bench.gateways import new_folder

from .apisix_nginx import NEW_CONNECTIONS, nginx
from .apisix_streams import STREAM_POLICY, Turns, chunk_times
from .gateways import LOOPBACK, Plan, full, plan_bare, plan_headrace, run
from .load import load
from .processes import cpu_by_part
from .report import machine, versions
from .rounds import Gateway, turned
from .upstream import free_port, upstream

ENVOY, NGINX, NEW = "envoy", "nginx", "nginx, a connection for each request"


class Added(msgspec.Struct, frozen=True):
    """Medians over the rounds. without: the same gateway alone. least: between the quickest rounds of both, where the machine had
    the least else to do. unit: of the four.
    """

    without: float
    headrace: float
    added: float
    least: float
    unit: str
    rounds: Sequence[float]


class Side(msgspec.Struct, frozen=True):
    """One gateway, with Headrace and without."""

    name: str
    without: Callable[[], Awaitable[float]]
    headrace: Callable[[], Awaitable[float]]


class Requests:
    """p50 of requests, in ms. cpu_ms: CPU time of gateway, service and store for a request, by gateway, for each load."""

    def __init__(self, key: str, seconds: int) -> None:
        self.sides: Sequence[Side] = ()
        self.cpu_ms: dict[str, list[float]] = {}
        self._key, self._seconds = key, seconds

    def p50(self, name: str, url: str, roots: Mapping[str, int]) -> Callable[[], Awaitable[float]]:
        """roots: processes whose CPU time counts, with all their children."""

        async def measured() -> float:
            before = sum(cpu_by_part(roots).values())
            found = await load(url, self._key, connections=1, seconds=self._seconds)
            if found.problems:
                raise RuntimeError(f"{url}: {', '.join(found.problems)}")
            spent = sum(cpu_by_part(roots).values()) - before
            self.cpu_ms.setdefault(name, []).append(spent / found.requests * 1000)
            return found.p50_ms

        return measured


def main(
    rounds: Annotated[int, typer.Option(help="how often each is measured")] = 5,
    seconds: Annotated[int, typer.Option(help="of load for each measurement of requests")] = 4,
    chunks: Annotated[int, typer.Option(help="events of each stream")] = 2000,
) -> None:
    """Measure, and print one JSON document."""
    if absent := missing():
        sys.exit(absent)
    found = asyncio.run(_bench(rounds, seconds, chunks))
    sys.stdout.buffer.write(msgspec.json.format(msgspec.json.encode(found), indent=2) + b"\n")


async def _bench(rounds: int, seconds: int, chunks: int) -> Mapping[str, object]:
    async with contextlib.AsyncExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hr-bench-")))
        requests = await stack.enter_async_context(_requests(directory, seconds))
        per_request = await _measure(requests.sides, rounds, "ms")
    async with contextlib.AsyncExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hr-bench-")))
        streams = await stack.enter_async_context(_streams(directory, chunks))
        per_chunk = await _measure(streams, rounds, "us")
    about = {"rounds": rounds, "seconds": seconds, "chunks": chunks}
    cpu = {name: round(statistics.median(spent[1:]), 4) for name, spent in requests.cpu_ms.items()}
    found = {"p50_per_request": per_request, "p50_per_chunk": per_chunk, "cpu_ms_per_request": cpu}
    return {**found, **about, "machine": machine(), "versions": versions()}


async def _measure(sides: Sequence[Side], rounds: int, unit: str) -> Mapping[str, Added]:
    without: dict[str, list[float]] = {side.name: [] for side in sides}
    headrace: dict[str, list[float]] = {side.name: [] for side in sides}
    for number in range(rounds + 1):
        for side in turned(sides, number):
            print(f"bench: round {number} of {rounds}: {side.name}", file=sys.stderr, flush=True)
            without[side.name].append(await side.without())
            headrace[side.name].append(await side.headrace())
    return {side.name: summary(without[side.name][1:], headrace[side.name][1:], unit) for side in sides}  # the first warms up


def summary(without: Sequence[float], headrace: Sequence[float], unit: str) -> Added:
    """Each round's difference, and the median of the differences: what slows a round down slows both sides of it."""
    added = [round(after - before, 4) for before, after in zip(without, headrace, strict=True)]
    before, after, difference = (round(statistics.median(values), 4) for values in (without, headrace, added))
    return Added(before, after, difference, round(min(headrace) - min(without), 4), unit, added)


@contextlib.asynccontextmanager
async def _requests(directory: Path, seconds: int) -> AsyncIterator[Requests]:
    async with contextlib.AsyncExitStack() as stack:
        _, url = await stack.enter_async_context(upstream(new_folder(directory, "upstream")))
        bare, envoy = await _envoys(stack, directory, plan_bare(url, directory), plan_headrace(url, new_folder(directory, ENVOY)))
        address, socket = url.removeprefix("http://"), directory / ENVOY / "worker.sock"
        plain, plain_pid = await stack.enter_async_context(nginx(new_folder(directory, "bare"), address))
        plugin, plugin_pid = await stack.enter_async_context(nginx(new_folder(directory, "plugin"), address, socket))
        fresh, fresh_pid = await stack.enter_async_context(nginx(new_folder(directory, "fresh"), address, socket, NEW_CONNECTIONS))
        found, service = Requests(envoy.key, seconds), {"service": envoy.roots["service"]}
        without = found.p50(f"{NGINX} without", plain, {"nginx": plain_pid})
        found.sides = (
            Side(ENVOY, found.p50(f"{ENVOY} without", bare.url, bare.roots), found.p50(ENVOY, envoy.url, envoy.roots)),
            Side(NGINX, without, found.p50(NGINX, plugin, {**service, "nginx": plugin_pid})),
            Side(NEW, without, found.p50(NEW, fresh, {**service, "nginx": fresh_pid})),
        )
        yield found


@contextlib.asynccontextmanager
async def _streams(directory: Path, chunks: int) -> AsyncIterator[Sequence[Side]]:
    async with contextlib.AsyncExitStack() as stack:
        model = await stack.enter_async_context(Turns.serving())
        envoy_bare, envoy = await _envoys(stack, directory, plan_bare(model.url, directory), _stream_plan(model.url, directory))
        address, socket = model.url.removeprefix("http://"), directory / ENVOY / "worker.sock"
        plain, _ = await stack.enter_async_context(nginx(new_folder(directory, "bare"), address))
        plugin, _ = await stack.enter_async_context(nginx(new_folder(directory, "plugin"), address, socket))

        def p50(url: str) -> Callable[[], Awaitable[float]]:
            async def measured() -> float:
                return statistics.median(await chunk_times(model, url, chunks)) * 1e6

            return measured

        yield (Side(ENVOY, p50(envoy_bare.url), p50(envoy.url)), Side(NGINX, p50(plain), p50(plugin)))


async def _envoys(stack: contextlib.AsyncExitStack, directory: Path, bare: Plan, headrace: Plan) -> tuple[Gateway, Gateway]:
    (directory / ENVOY).mkdir(exist_ok=True)
    first = await stack.enter_async_context(run(bare, new_folder(directory, "envoy-bare")))
    return first, await stack.enter_async_context(run(headrace, directory / ENVOY))


def _stream_plan(url: str, directory: Path) -> Plan:
    """The service alone, one worker, with a policy that reads streams."""
    folder = new_folder(directory, ENVOY)
    (folder / "policy.yaml").write_text(STREAM_POLICY)
    socket, admin = folder / "worker.sock", f"{LOOPBACK}:{free_port()}"
    headrace = str(Path(sys.executable).with_name("headrace"))
    options = ("--listen", f"unix:{socket}", "--workers", "1", "--admin", admin, "--log-level", "warning", "--transport", DEFAULT)

    async def settled() -> float:
        return 0.0

    return Plan("streams", full(url, socket), settled, (headrace, "serve", str(folder / "policy.yaml"), *options))


if __name__ == "__main__":
    typer.run(main)
