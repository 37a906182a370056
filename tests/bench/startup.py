"""`python -m tests.bench.startup`: from `headrace serve` to ready, and what its processes hold; prints JSON.

The policy of the bench, with the embedded store, for each number of workers. Ready is what `/readyz` says. `replaced_s` is from the
death of a worker to the next one's being ready. RSS counts pages that processes share in each of them, PSS by the share.

Modules have bytecode, as an installation's have: a checkout's are compiled first, where PYTHONDONTWRITEBYTECODE would have every
start compile them again.
"""

import argparse
import asyncio
import compileall
import contextlib
import json
import os
import platform
import signal
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx

import headrace.ext_proc
import headrace.filters

from .gateways import LOOPBACK, service, write_policy
from .processes import Memory, cpu_seconds, memory, role, tree
from .upstream import free_port

LOOK_S = 0.01
"""Between two looks: what is measured is that much longer at most. One at the admin interface takes 2 ms of CPU time."""
MOST_S = 120.0
WORKERS = (1, 2, 4)
ROUNDS = 3
MIB = 2**20


async def measure(workers: int, directory: Path) -> Mapping[str, Any]:
    """One start. Raises TimeoutError when the service is not ready within MOST_S."""
    write_policy(directory, "http://127.0.0.1:1")
    port = free_port()
    admin = f"{LOOPBACK}:{port}"
    headrace = str(Path(sys.executable).with_name("headrace"))
    where = ("--listen", f"unix:{directory}/worker.sock", "--admin", admin, "--log-level", "warning")
    command = (headrace, "serve", str(directory / "policy.yaml"), "--workers", str(workers), *where)
    began = time.perf_counter()
    async with service(command, directory / "service.log") as pid, httpx.AsyncClient(base_url=f"http://{admin}") as client:
        await _listening(port)
        await _until(client, lambda state: state["ready"])
        ready, cpu = time.perf_counter() - began, sum(map(cpu_seconds, tree(pid)))
        held = [(role(each), memory(each)) for each in tree(pid)]
        return {"ready_s": ready, "cpu_s": cpu, "replaced_s": await _replaced(client, pid), "memory": _by_role(held)}


async def _listening(port: int) -> None:
    """Returns when somebody listens there. A look costs nothing that would be measured."""
    async with asyncio.timeout(MOST_S):
        while True:
            with contextlib.closing(socket.socket()) as caller:
                if caller.connect_ex((LOOPBACK, port)) == 0:
                    return
            await asyncio.sleep(LOOK_S)


async def _until(client: httpx.AsyncClient, wanted: Callable[[Any], bool]) -> None:
    async with asyncio.timeout(MOST_S):
        while True:
            with contextlib.suppress(httpx.TransportError):
                if wanted((await client.get("/readyz")).json()):
                    return
            await asyncio.sleep(LOOK_S)


async def _replaced(client: httpx.AsyncClient, pid: int) -> float:
    """Seconds from the death of a worker to another in its place."""
    worker = next(each for each in tree(pid) if role(each) == "worker")
    began = time.perf_counter()
    os.kill(worker, signal.SIGKILL)
    await _until(client, lambda state: not state["ready"])
    await _until(client, lambda state: state["ready"])
    return time.perf_counter() - began


def _by_role(held: Sequence[tuple[str, Memory]]) -> Mapping[str, Any]:
    """MiB: of each role the largest process, and of all processes together, in which PSS counts each page once."""
    roles = sorted({name for name, _ in held})
    largest = {name: max((each for role, each in held if role == name), key=lambda each: each.rss) for name in roles}
    total = Memory(sum(each.rss for _, each in held), sum(each.pss for _, each in held))
    return {name: _mib(each) for name, each in {**largest, "together": total}.items()}


def _mib(held: Memory) -> Mapping[str, float]:
    return {"rss_mb": round(held.rss / MIB, 1), "pss_mb": round(held.pss / MIB, 1)}


def summary(runs: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """Medians of the rounds; memory of the last."""
    seconds = {name: round(statistics.median(run[name] for run in runs), 3) for name in ("ready_s", "cpu_s", "replaced_s")}
    return {**seconds, "memory": runs[-1]["memory"]}


@contextlib.asynccontextmanager
async def _directory() -> AsyncIterator[Path]:
    with tempfile.TemporaryDirectory(prefix="hr-bench-") as name:
        yield Path(name)


def compile_modules() -> None:
    for package in (headrace.ext_proc, headrace.filters):
        for path in package.__path__:
            compileall.compile_dir(path, quiet=1)


async def bench(workers: Sequence[int], rounds: int) -> Mapping[str, Any]:
    compile_modules()
    runs: dict[int, list[Mapping[str, Any]]] = {number: [] for number in workers}
    for _ in range(rounds):
        for number in workers:
            async with _directory() as directory:
                runs[number].append(await measure(number, directory))
    machine = {"cpus": os.cpu_count(), "load": os.getloadavg()[0], "python": platform.python_version()}
    return {"machine": machine, "workers": {str(number): summary(found) for number, found in runs.items()}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, nargs="+", default=WORKERS)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    asked = parser.parse_args()
    print(json.dumps(asyncio.run(bench(asked.workers, asked.rounds)), indent=1))


if __name__ == "__main__":
    main()
