"""`python -m tests.bench.large`: what a clean prompt of 400 KB costs the service, part by part; prints JSON.

In one process, over an embedded Valkey: the two messages that Envoy sends and its access-log entry. No prompt comes twice.
`parts`: each by itself, on prompts of the same kind; `pii_patterns`: on clean texts of several kinds; `whole`: one request after
another. CPU time of the process, and for `whole` the time it took: medians in ms. `beside`: how long the loop could not turn to
anything else while such prompts were answered, at the most and at the 99th percentile of a look each millisecond. `gateways`: the
same through bare Envoy, a processor that decides nothing, and the full chain, in turn: p50 in ms, and CPU ms of each part of the
gateway.
"""

import argparse
import asyncio
import contextlib
import json
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import uvloop

from headrace.ext_proc.core.endpoint import Endpoint
from headrace.ext_proc.core.json_body import parse
from headrace.ext_proc.core.lenses import read_call
from headrace.ext_proc.engine.counting.counter import bundled
from headrace.ext_proc.envoy.pb import headrace_ext_proc_pb2 as pb
from headrace.ext_proc.envoy.transport import Transport
from headrace.ext_proc.stores.embedded import EmbeddedStore
from headrace.filters.pii.memo import MemoDetector
from headrace.filters.pii.plan import detector_for, plan
from headrace.filters.pii.settings import PiiSettings
from tests.bench.gateways import new_folder

from .gateways import Plan, plan_bare, plan_headrace, plan_noop, run, write_policy
from .inprocess import Service, messages
from .peers.prompts import ask, prompt
from .processes import cpu_by_part
from .rounds import Gateway
from .texts import CLEAN
from .upstream import upstream

EVERY_S = 0.001
MODEL = "llama-3.3-70b"
ENCODING = "o200k_base"
PLANS: Mapping[str, Callable[[str, Path], Plan]] = {
    "bare": plan_bare,
    "noop-h2": partial(plan_noop, transport=Transport.H2),
    "headrace": plan_headrace,
}


def body(chance: random.Random) -> bytes:
    """A chat as an application sends it."""
    asked = {"role": "user", "content": prompt(chance)}
    return msgspec.json.encode({"model": MODEL, "messages": [asked], "max_tokens": 64})


def parts(bodies: Sequence[bytes]) -> Mapping[str, float]:
    """Median ms of CPU time of each part of one request."""
    detector = _detector()
    wire = [pb.ProcessingRequest(request_body=pb.HttpBody(body=each, end_of_stream=True)).SerializeToString() for each in bodies]
    documents = [parse(each) for each in bodies]
    texts = [document["messages"][0]["content"] for document in documents]
    calls = [read_call(Endpoint.CHAT, document) for document in documents]
    counter = bundled(ENCODING)
    counter(["warm"])
    return {
        "protobuf": _median(pb.ProcessingRequest.FromString, wire),
        "json": _median(parse, bodies),
        "lens": _median(lambda document: read_call(Endpoint.CHAT, document), documents),
        "count": _median(lambda call: counter(call.prompt.texts), calls),
        "pii patterns": _median(detector.detect, texts),
        "pii patterns, a prompt seen before": _median(detector.detect, texts),
    }


def patterns(count: int) -> Mapping[str, float]:
    """Median ms of CPU time that the patterns take for so many new texts of each kind, by turns."""
    detector, chance = _detector(), random.Random(11)
    took: dict[str, list[float]] = {kind: [] for kind in CLEAN}
    for _ in range(count):
        for kind, make in CLEAN.items():
            text = make(chance)
            began = time.process_time()
            detector.detect(text)
            took[kind].append(time.process_time() - began)
    return {kind: _ms(statistics.median(each)) for kind, each in took.items()}


def _detector() -> MemoDetector:
    def no_problem(where: object, message: str) -> None:
        raise ValueError(f"{where}: {message}")

    return detector_for(plan(PiiSettings.model_validate({"model": "none"}), Path(), no_problem))


def _median(work: Callable[[Any], object], inputs: Sequence[Any]) -> float:
    took = []
    for each in inputs:
        began = time.process_time()
        work(each)
        took.append(time.process_time() - began)
    return round(statistics.median(took) * 1e3, 2)


async def whole(bodies: Sequence[bytes]) -> Mapping[str, Any]:
    """Requests through a worker's parts, one after another, with a clock that says when the loop stood still."""
    with tempfile.TemporaryDirectory() as name, EmbeddedStore() as url:
        key = write_policy(Path(name), "http://127.0.0.1:1")
        service = Service(Path(name, "policy.yaml"), url)
        headers, _ = next(messages(key))
        await service.serve(headers, _message(bodies[0]))
        stood: list[float] = []
        watch = asyncio.create_task(_watch(stood))
        cpu, took = [], []
        for each in bodies[1:]:
            message = _message(each)
            began, spent = time.perf_counter(), time.process_time()
            await service.serve(headers, message)
            took.append(time.perf_counter() - began)
            cpu.append(time.process_time() - spent)
        watch.cancel()
        await service.effects.drain(60)
        await service.store.close()
    stood.sort()
    beside = {"most_ms": _ms(stood[-1]), "p99_ms": _ms(stood[int(len(stood) * 0.99)])}
    return {"cpu_ms": _ms(statistics.median(cpu)), "took_ms": _ms(statistics.median(took)), "beside": beside}


async def through(count: int) -> Mapping[str, Any]:
    """Rounds of one prompt through each gateway, all of them up at the same time."""
    async with contextlib.AsyncExitStack() as stack:
        root = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hr-bench-")))
        _, url = await stack.enter_async_context(upstream(new_folder(root, "upstream")))
        plans = [(make(url, folder := new_folder(root, name)), folder) for name, make in PLANS.items()]
        gateways = [await stack.enter_async_context(run(plan, folder)) for plan, folder in plans]
        before = {gateway.name: cpu_by_part(gateway.roots) for gateway in gateways}
        took: dict[str, list[float]] = {gateway.name: [] for gateway in gateways}
        for _ in range(count):
            for gateway in gateways:
                asked = await ask(gateway, 1)
                if asked.problems:
                    raise RuntimeError(f"{gateway.name}: {asked.problems[0]}")
                took[gateway.name].append(asked.p50_ms)
        return {each.name: _cost(each, before[each.name], took[each.name]) for each in gateways}


def _cost(gateway: Gateway, before: Mapping[str, float], took: Sequence[float]) -> Mapping[str, Any]:
    prompts = 2 * len(took)  # the one before that does not count
    cpu = {part: _ms((spent - before.get(part, 0.0)) / prompts) for part, spent in cpu_by_part(gateway.roots).items()}
    return {"p50_ms": round(statistics.median(took), 2), "cpu_ms": cpu}


def _message(sent: bytes) -> bytes:
    return pb.ProcessingRequest(request_body=pb.HttpBody(body=sent, end_of_stream=True)).SerializeToString()


async def _watch(stood: list[float]) -> None:
    """How much later than asked for the loop came back."""
    while True:
        began = time.perf_counter()
        await asyncio.sleep(EVERY_S)
        stood.append(time.perf_counter() - began - EVERY_S)


def _ms(seconds: float) -> float:
    return round(seconds * 1e3, 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=30)
    count = parser.parse_args().requests
    chance = random.Random(7)
    found = {
        "parts_cpu_ms": parts([body(chance) for _ in range(count)]),
        "pii_patterns_cpu_ms": patterns(count),
        "whole": uvloop.run(whole([body(chance) for _ in range(count + 1)])),
        "gateways": asyncio.run(through(count)),
    }
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
