"""`python -m tests.bench.inprocess`: what the service's own Python costs per request, without gRPC, Envoy and the network.

The policy of the bench over an embedded Valkey; each request is the two messages Envoy sends, and its access-log entry. CPU
time, so that a busy machine disturbs it little. `--profile` shows where it goes.
"""

import asyncio
import cProfile
import gc
import itertools
import pstats
import random
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import msgspec
import typer
import uvloop
from google.protobuf.struct_pb2 import Struct

from headrace.ext_proc.audit.worker import Audits
from headrace.ext_proc.core.effects import Cause
from headrace.ext_proc.engine.clock import SystemClock
from headrace.ext_proc.engine.effects import EffectRunner
from headrace.ext_proc.engine.offload import ThreadOffload
from headrace.ext_proc.engine.policy.compile import Policy
from headrace.ext_proc.engine.registry import Ports, Registry
from headrace.ext_proc.envoy.access_log import AccessLog
from headrace.ext_proc.envoy.pb import headrace_access_log_pb2 as log_pb
from headrace.ext_proc.envoy.pb import headrace_ext_proc_pb2 as pb
from headrace.ext_proc.envoy.processor import CAPABILITIES, Processor
from headrace.ext_proc.service.worker import compiled
from headrace.ext_proc.stores import open_store
from headrace.ext_proc.stores.embedded import EmbeddedStore
from headrace.ext_proc.telemetry.auditing import AuditMeters
from headrace.ext_proc.telemetry.counting import Metrics

from .gateways import write_policy

WORDS = ("water", "wheel", "mill", "race", "gate", "stone", "grain", "flour", "river", "pond", "weir", "axle", "belt", "sack")
TOGETHER = 32


class Service:
    """A worker's parts without its transport."""

    def __init__(self, policy: Path, store: str) -> None:
        self.store, self.clock = open_store(store), SystemClock()
        self.offload = ThreadOffload()
        ports = Ports(self.store, self.clock, self.offload)
        self.policy: Policy = compiled(policy, Registry.installed(), ports)
        metrics = Metrics(lambda name: self.policy.catalogue.find(name) is not None, self.clock)
        self.audits = Audits("0", self.clock, AuditMeters(metrics))
        self.audits.start(self.policy.audit, self.policy.revision)
        self.effects = EffectRunner(self.store, self.clock, [metrics.observe, self.audits.observe])
        ids = (f"hx{number:024x}" for number in itertools.count())
        self.processor = Processor(lambda: self.policy, lambda: next(ids), self.effects.submit, audits=self.audits)
        self.access_log = AccessLog(self.effects.submit)

    async def serve(self, headers: bytes, body: bytes) -> None:
        """One request from its headers to its access-log entry."""
        stream = self.processor.open({CAPABILITIES: "access-log,mode-override"})
        await stream.receive(headers)
        answer = pb.ProcessingResponse.FromString((await stream.receive(body))[-1])
        assert stream.finished and answer.HasField("request_body"), answer
        stream.close(Cause.ABORTED)
        self.access_log.receive(_entry(answer))


def _entry(answer: pb.ProcessingResponse) -> bytes:
    entry = log_pb.HTTPAccessLogEntry()
    common = entry.common_properties
    told = answer.dynamic_metadata["headrace"]
    assert isinstance(told, Struct)
    common.metadata.filter_metadata["headrace"].CopyFrom(told)
    common.metadata.filter_metadata["headrace.usage"].update({"prompt_tokens": 45, "completion_tokens": 5})
    common.time_to_first_upstream_tx_byte.nanos = 1000
    entry.response.response_code.value = 200
    message = log_pb.StreamAccessLogsMessage()
    message.http_logs.log_entry.append(entry)
    return message.SerializeToString()


def messages(key: str) -> Iterator[tuple[bytes, bytes]]:
    """Headers and body messages, no two bodies alike."""
    chance = random.Random(7)
    headers = {
        ":method": "POST",
        ":path": "/v1/chat/completions",
        ":authority": "127.0.0.1",
        ":scheme": "http",
        "content-type": "application/json",
        "authorization": f"Bearer {key}",
        "x-forwarded-proto": "http",
        "x-request-id": "0427ccb2-3cf6-4430-8cec-eac5d17dd13f",
    }
    first = pb.ProcessingRequest(protocol_config=pb.ProtocolConfiguration(request_body_mode=pb.BUFFERED))
    for name, value in headers.items():
        first.request_headers.headers.headers.add(key=name, raw_value=value.encode())
    while True:
        body = pb.ProcessingRequest(request_body=pb.HttpBody(body=_chat(chance), end_of_stream=True))
        yield first.SerializeToString(), body.SerializeToString()


def _chat(chance: random.Random) -> bytes:
    said = " ".join(chance.choices(WORDS, k=17))
    system = {"role": "system", "content": "You are a helpful assistant."}
    asked = {"role": "user", "content": said}
    return msgspec.json.encode({"model": "llama-3.3-70b", "messages": [system, asked], "max_tokens": 64})


async def measure(requests: int, profile: bool) -> float:
    """CPU µs per request of this process: service code, store client, settlement."""
    with tempfile.TemporaryDirectory() as name, EmbeddedStore() as url:
        key = write_policy(Path(name), "http://127.0.0.1:1")
        service = Service(Path(name, "policy.yaml"), url)
        source = messages(key)
        await serve_all(service, list(itertools.islice(source, 500)))
        work = list(itertools.islice(source, requests))
        gc.collect()
        gc.freeze()
        profiler = cProfile.Profile()
        if profile:
            profiler.enable()
        started = time.process_time()
        await serve_all(service, work)
        spent = time.process_time() - started
        profiler.disable()
        if profile:
            pstats.Stats(profiler).sort_stats("tottime").print_stats(45)
        await service.store.close()
    return spent / requests * 1e6


async def serve_all(service: Service, work: list[tuple[bytes, bytes]]) -> None:
    """All of it, settled."""
    for at in range(0, len(work), TOGETHER):
        await asyncio.gather(*(service.serve(*pair) for pair in work[at : at + TOGETHER]))
    await service.effects.drain(60)


def main(
    requests: Annotated[int, typer.Option(min=100, help="how many")] = 5000,
    profile: Annotated[bool, typer.Option("--profile", help="show the functions that take the time; slower by half")] = False,
) -> None:
    """Measure the service's own Python."""
    print(f"{uvloop.run(measure(requests, profile)):.0f} µs of CPU per request")


if __name__ == "__main__":
    typer.run(main)
