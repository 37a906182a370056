"""Callers that compress, or take what is compressed, before a patched Envoy that has the decompressors of envoy/README.md."""

import gzip
import json
import re
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from headrace.ext_proc.envoy.config.document import parse
from headrace.ext_proc.envoy.config.patch import Attachment, patch
from headrace.ext_proc.envoy.config.settings import Address
from tests.e2e.envoy_process import running_envoy
from tests.e2e.site import CHAT, MODEL, Site
from tests.envoy.config.samples import EDGE

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module")]

PAGE = Path(__file__).parents[2] / "envoy" / "README.md"
MAIL = "ann.lee@example.org"
COMPRESSOR = re.compile(r" +# Compress what goes to browsers\.\n.*?(?= +# The router is last)", re.DOTALL)


def with_decompressors(bootstrap: str) -> str:
    """Those of the page in place of the compressor."""
    found = re.search(
        r"## Callers that compress their requests\n.*?```yaml\nhttp_filters:\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL
    )
    assert found
    lines = "".join(f"          {line}\n" for line in found[1].splitlines())
    return COMPRESSOR.sub(lambda _: lines, bootstrap)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(module_site: Site) -> AsyncIterator[httpx.AsyncClient]:
    """Of an Envoy that leads to the pool `standard` alone."""
    port = httpx.URL(module_site.standard.url).port
    document = parse(with_decompressors(EDGE.replace("port_value: 9000", f"port_value: {port}")), "edge.yaml")
    patch(document, Attachment(tuple(Address.parse(address) for address in module_site.stack.service.addresses)))
    text = re.sub(r"admin:\n.*\n", "", document.text())
    async with running_envoy(text) as envoy, httpx.AsyncClient(base_url=f"http://127.0.0.1:{await envoy.port('edge')}") as client:
        yield client


def chat(text: str) -> bytes:
    return json.dumps({"model": MODEL, "messages": [{"role": "user", "content": text}], "max_tokens": 5}).encode()


def as_zstd(data: bytes) -> bytes:
    """One frame with one block, stored (RFC 8878)."""
    size = len(data)
    return b"\x28\xb5\x2f\xfd\xa0" + size.to_bytes(4, "little") + (size << 3 | 1).to_bytes(3, "little") + data


def as_brotli(data: bytes) -> bytes:
    """One meta-block, stored, and an empty last one (RFC 7932)."""
    return (1 << 20 | (len(data) - 1) << 4).to_bytes(3, "little") + data + b"\x03"


async def post(client: httpx.AsyncClient, site: Site, body: bytes, encoding: str) -> httpx.Response:
    caller = await site.caller()
    headers = {"content-type": "application/json", "content-encoding": encoding}
    return await client.post(CHAT, content=body, headers=headers | caller.headers, timeout=30)


COMPRESSED: Mapping[str, bytes] = {
    "gzip": gzip.compress(chat(f"Write to {MAIL}")),
    "zstd": as_zstd(chat(f"Write to {MAIL}")),
    "br": as_brotli(chat(f"Write to {MAIL}")),
}


@pytest.mark.parametrize("encoding", COMPRESSED)
async def test_a_compressed_request_is_searched_and_arrives_uncompressed(
    client: httpx.AsyncClient, site: Site, encoding: str
) -> None:
    assert (await post(client, site, COMPRESSED[encoding], encoding)).status_code == 200
    entry = site.only_received
    assert json.loads(entry.body)["messages"][0]["content"].startswith("Write to <EMAIL_ADDRESS")
    assert entry.header("content-encoding") is None
    assert entry.header("content-length") == str(len(entry.body))


async def test_only_calls_are_answered_uncompressed(client: httpx.AsyncClient, site: Site) -> None:
    """Their usage is read; pages of the same hosts are none of Headrace's."""
    caller = await site.caller()
    takes = {"accept-encoding": "gzip, br"}
    await client.post(CHAT, content=chat("hi"), headers=caller.headers | takes, timeout=30)
    await client.get("/v1/models", headers=caller.headers | takes)
    call, page = site.received
    assert (call.header("accept-encoding"), page.header("accept-encoding")) == (None, "gzip, br")


async def test_a_text_that_repeats_itself_arrives_whole(client: httpx.AsyncClient, site: Site) -> None:
    body = chat("a " * 50_000)
    compressed = gzip.compress(body)
    assert len(body) > 300 * len(compressed)
    assert (await post(client, site, compressed, "gzip")).status_code == 200
    assert site.only_received.body == body


ODD: Mapping[str, tuple[bytes, str, int, str]] = {
    "a bomb": (gzip.compress(b" " * 64 * 1024 * 1024), "gzip", 413, "body.too_large"),
    "no gzip": (chat("hi"), "gzip", 400, "body.not_json"),
    "cut": (gzip.compress(chat("hi"))[:-20], "gzip", 400, "body.not_json"),
    "compressed twice": (gzip.compress(gzip.compress(chat("hi"))), "gzip", 400, "body.not_json"),
    "compressed twice, and said so": (gzip.compress(gzip.compress(chat("hi"))), "gzip, gzip", 415, "body.encoded"),
    "an encoding that Envoy has none for": (chat("hi"), "compress", 415, "body.encoded"),
}


@pytest.mark.parametrize(("body", "encoding", "status", "reason"), ODD.values(), ids=ODD)
async def test_what_cannot_be_decompressed_is_refused(
    client: httpx.AsyncClient, site: Site, body: bytes, encoding: str, status: int, reason: str
) -> None:
    answer = await post(client, site, body, encoding)
    assert (answer.status_code, answer.headers.get("x-headrace-reason", "")) == (status, reason)
    assert site.received == []
