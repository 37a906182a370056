"""What the audit log costs a request: `python -m tests.bench.audit` prints one JSON document, `--table` a table for people.

The service's own Python as in `inprocess`, with the bench's full chain and an embedded Valkey: one service without an audit log and
one for each way of keeping it, loaded in turn, so that whatever else the machine does falls on all. `cpu_us`: of this process, the
writer's thread included, median and least of the rounds; `alone_ms`: a request by itself; `together_ms`: one of 32.
`fdatasync_ms`: a kilobyte appended to a file of the same disk and synced, which no request with `block` can beat. The log is on
the disk of `--directory`.
"""

import asyncio
import base64
import gc
import json
import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median, quantiles
from typing import Annotated, Any

import typer
import uvloop

from headrace.ext_proc.stores.embedded import EmbeddedStore

from .gateways import write_policy
from .inprocess import TOGETHER, Service, messages
from .report import machine, versions
from .rounds import turned

KEY = "master_key: {file: master.key}"
WAYS: Mapping[str, str] = {
    "without": "",
    "drop-and-count": "audit: {directory: audit, on_full: drop-and-count}",
    "block": "audit: {directory: audit, wait_ms: 30000}",
    "block, hashed": f"audit: {{directory: audit, wait_ms: 30000, bodies: hashed, {KEY}}}",
    "block, encrypted": f"audit: {{directory: audit, wait_ms: 30000, bodies: encrypted, {KEY}}}",
}
ALONE, CROWDS = 200, 20
"""Requests one after the other, and crowds of TOGETHER, in a round."""
Pair = tuple[bytes, bytes]


class Bench:
    """One service, and what was measured of it."""

    def __init__(self, name: str, store: str, folder: Path) -> None:
        self.name = name
        self.alone: list[float] = []
        self.together: list[float] = []
        self.cpu_us: list[float] = []
        folder.mkdir()
        key = write_policy(folder, "http://127.0.0.1:1")
        (folder / "master.key").write_text(base64.b64encode(b"k" * 32).decode())
        policy = folder / "policy.yaml"
        policy.write_text(f"{policy.read_text()}{WAYS[name]}\n")
        self.service = Service(policy, store)
        self._source = messages(key)

    async def round(self) -> None:
        started, requests = time.process_time(), ALONE + CROWDS * TOGETHER
        for _ in range(ALONE):
            self.alone.append(await self._served(next(self._source)))
        for _ in range(CROWDS):
            self.together += await asyncio.gather(*(self._served(next(self._source)) for _ in range(TOGETHER)))
        await self.service.effects.drain(60)
        self.cpu_us.append((time.process_time() - started) / requests * 1e6)

    async def _served(self, pair: Pair) -> float:
        """Milliseconds."""
        started = time.perf_counter()
        await self.service.serve(*pair)
        return (time.perf_counter() - started) * 1e3

    async def close(self) -> None:
        await self.service.audits.close()
        await self.service.store.close()

    @property
    def figures(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "cpu_us": round(median(self.cpu_us)),
            "least_cpu_us": round(min(self.cpu_us)),
            "alone_ms": _p50_p99(self.alone),
            "together_ms": _p50_p99(self.together),
        }


def _p50_p99(times: Sequence[float]) -> dict[str, float]:
    cuts = quantiles(times, n=100)
    return {"p50": round(cuts[49], 3), "p99": round(cuts[98], 3)}


async def measure(rounds: int, directory: Path | None) -> dict[str, Any]:
    """The document."""
    with tempfile.TemporaryDirectory(dir=directory) as name, EmbeddedStore() as url:
        benches = [Bench(way, url, Path(name, str(number))) for number, way in enumerate(WAYS)]
        for bench in benches:
            await bench.round()  # to warm up
        for bench in benches:
            bench.alone, bench.together, bench.cpu_us = [], [], []
        gc.collect()
        gc.freeze()
        for number in range(rounds):
            for bench in turned(benches, number):
                await bench.round()
        for bench in benches:
            await bench.close()
        disk = _p50_p99(_synced(Path(name, "file")))
    found = {"rounds": rounds, "fdatasync_ms": disk, "ways": [bench.figures for bench in benches]}
    return {**found, "machine": machine(), "versions": versions()}


def _synced(path: Path) -> list[float]:
    """Milliseconds of each of ALONE appends."""
    times = []
    with path.open("ab", buffering=0) as file:
        for _ in range(ALONE):
            started = time.perf_counter()
            file.write(bytes(1000))
            os.fdatasync(file.fileno())
            times.append((time.perf_counter() - started) * 1e3)
    return times


def main(
    rounds: Annotated[int, typer.Option(min=1, help="how many")] = 5,
    directory: Annotated[
        Path | None, typer.Option(help="on the disk that is measured; the system's temporary one when absent")
    ] = None,
    table: Annotated[bool, typer.Option("--table", help="a table for people")] = False,
) -> None:
    """Measure what the audit log costs a request."""
    found = uvloop.run(measure(rounds, directory))
    if not table:
        print(json.dumps(found, indent=2))
        return
    print("| audit log | CPU µs | least | alone, p50 ms | p99 ms | 32 at once, p50 ms | p99 ms |\n|---|---|---|---|---|---|---|")
    for way in found["ways"]:
        times = [f"{way[kind][share]:.2f}" for kind in ("alone_ms", "together_ms") for share in ("p50", "p99")]
        print(f"| {way['name']} | {way['cpu_us']} | {way['least_cpu_us']} | {' | '.join(times)} |")


if __name__ == "__main__":
    typer.run(main)
