"""`python -m tests.bench.memory_growth`: whether a worker's memory grows once what it remembers is full; prints JSON.

A worker's parts without its transport, under the soak's policy: first prompts of 200 texts each until `pii` remembers no more, and
callers until the caches of callers are full. Then requests, no two of one caller or with one text, and then policies, no two
alike. Resident MiB after each step; bytes for each request and each policy by least squares.
"""

import asyncio
import gc
import itertools
import json
import os
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import linear_regression
from typing import Annotated, Any

import msgspec
import typer
import uvloop
from joserfc import jwt
from joserfc.jwk import OKPKey

from headrace.ext_proc.engine.registry import Ports, Registry
from headrace.ext_proc.envoy.pb import headrace_ext_proc_pb2 as pb
from headrace.ext_proc.service.worker import compiled
from headrace.ext_proc.stores.embedded import EmbeddedStore
from headrace.filters.pii.memo import SIZE
from tests.soak.policy import AUDIENCE, MODEL, policy_of

from .inprocess import Service, serve_all
from .processes import memory

TEXTS = 200
STEPS = 10
CALLERS = 5_000
FIRST_POLICIES = 10
"""Not measured: while one is compiled there are two, which is 16 MB of gates more."""
MIB = 1 << 20
UPSTREAMS = {"standard": "http://127.0.0.1:1", "large": "http://127.0.0.1:2"}


class Site:
    """A policy's files in `directory`, and requests that it admits."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "policy.yaml"
        self._audit = directory / "audit"
        self._signer = OKPKey.generate_key("Ed25519", {"kid": "bench"})
        self._numbers = itertools.count()
        (directory / "jwks.json").write_text(json.dumps({"keys": [self._signer.as_dict(private=False)]}))
        (directory / "pii.key").write_text("k" * 64)
        self.change(0)

    def change(self, number: int) -> None:
        """A policy that was not there before."""
        document = policy_of(UPSTREAMS, self._audit, number % 2)
        document["filters"][1]["pii"]["restore"] = False  # or an exchange goes on until its answer is read
        document["models"].append({"name": f"other-{number}", "price": {"input": 1, "output": 1}})
        self.path.write_text(json.dumps(document))

    def requests(self, texts: int) -> Iterator[tuple[bytes, bytes]]:
        """Headers and body messages, of new callers, with `texts` new texts each, the last with a mail address."""
        for number in self._numbers:
            said = [f"{number} {index}: the wheel turns while there is water" for index in range(texts - 1)]
            asked = [{"role": "user", "content": each} for each in (*said, f"write to caller.{number}@example.org of it")]
            body = msgspec.json.encode({"model": MODEL, "messages": asked, "max_tokens": 8})
            yield (
                self._headers(number),
                pb.ProcessingRequest(request_body=pb.HttpBody(body=body, end_of_stream=True)).SerializeToString(),
            )

    def _headers(self, number: int) -> bytes:
        claims = {"org": "mill", "team": f"team-{number // 1000}", "sub": f"user-{number}", "jti": str(number), "aud": AUDIENCE}
        token = jwt.encode({"alg": "Ed25519"}, claims | {"exp": int(time.time()) + 3600}, self._signer, algorithms=["Ed25519"])
        first = pb.ProcessingRequest(protocol_config=pb.ProtocolConfiguration(request_body_mode=pb.BUFFERED))
        for name, value in {
            ":method": "POST",
            ":path": "/v1/chat/completions",
            ":authority": "127.0.0.1",
            ":scheme": "http",
            "content-type": "application/json",
            "authorization": f"Bearer {token}",
        }.items():
            first.request_headers.headers.headers.add(key=name, raw_value=value.encode())
        return first.SerializeToString()


async def measure(requests: int, policies: int) -> Mapping[str, Any]:
    with tempfile.TemporaryDirectory(prefix="hr-bench-") as name, EmbeddedStore() as url:
        site = Site(Path(name))
        service = Service(site.path, url)
        await _serve(service, site, SIZE // TEXTS + 1, TEXTS)
        await _serve(service, site, CALLERS, 1)
        asked = [(0, _rss())]
        for step in range(1, STEPS + 1):
            await _serve(service, site, requests // STEPS, 1)
            asked.append((step * (requests // STEPS), _rss()))
        for number in range(FIRST_POLICIES):
            await _change(service, site, -1 - number)
        changed = [(0, _rss())]
        for number in range(1, policies + 1):
            await _change(service, site, number)
            if number % (policies // STEPS) == 0:
                changed.append((number, _rss()))
        await service.store.close()
    return {
        "mb_by_requests": _told(asked),
        "bytes_a_request": _slope(asked),
        "mb_by_policies": _told(changed),
        "bytes_a_policy": _slope(changed),
    }


async def _serve(service: Service, site: Site, requests: int, texts: int) -> None:
    await serve_all(service, list(itertools.islice(site.requests(texts), requests)))


async def _change(service: Service, site: Site, number: int) -> None:
    """As a worker's reload does it."""
    site.change(number)
    ports = Ports(service.store, service.clock, service.offload)
    service.policy = await asyncio.to_thread(compiled, site.path, Registry.installed(), ports)
    gc.collect()


def _rss() -> int:
    gc.collect()
    return memory(os.getpid()).rss


def _told(points: Sequence[tuple[int, int]]) -> Mapping[int, float]:
    return {count: round(rss / MIB, 1) for count, rss in points}


def _slope(points: Sequence[tuple[int, int]]) -> int:
    """Bytes for each, by least squares."""
    counts, bytes_ = zip(*points, strict=True)
    return round(linear_regression(counts, bytes_).slope)


def main(
    requests: Annotated[int, typer.Option(min=STEPS, help="after what is remembered is full")] = 20_000,
    policies: Annotated[int, typer.Option(min=STEPS, help="one after the other")] = 500,
) -> None:
    """Follow a worker's memory."""
    print(json.dumps(uvloop.run(measure(requests, policies)), indent=1))


if __name__ == "__main__":
    typer.run(main)
