"""Answers that no upstream should give: compressed unasked, with unbelievable usage, of another kind than was asked."""

import gzip
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

import pytest
import pytest_asyncio

from tests.e2e.site import WATCHED, Site, chat, running_site
from tests.envoy.stub_upstream import EVENTS, JSON, Received, Reply, StubUpstream

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module")]

MAIL = "ann.lee@example.org"
CAP = 50
RESERVED = 8 + CAP
USAGE = {"prompt_tokens": 5, "completion_tokens": 3}
CHUNK = {"choices": [{"index": 0, "delta": {"content": "a"}}]}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def upstream() -> AsyncIterator[StubUpstream]:
    async with StubUpstream("standard") as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def module_site(upstream: StubUpstream) -> AsyncIterator[Site]:
    async with running_site(upstreams={"standard": upstream.url}) as running:
        yield running


def whole(body: bytes, content_type: str = JSON, **headers: str) -> Callable[[Received, Reply], Awaitable[None]]:
    async def answer(_: Received, reply: Reply) -> None:
        await reply.whole(body, content_type, **headers)

    return answer


def events(*documents: Mapping[str, object]) -> bytes:
    return b"".join(b"data: " + json.dumps(document).encode() + b"\n\n" for document in documents)


@pytest.mark.parametrize("content_type", [JSON, EVENTS])
@pytest.mark.parametrize("stream", [False, True])
async def test_a_compressed_answer_that_must_be_read_is_refused(
    site: Site, upstream: StubUpstream, content_type: str, stream: bool
) -> None:
    """Passing it on would pass on placeholders, and whatever an answer is searched for."""
    upstream.answer = whole(gzip.compress(b"data: {}\n\n"), content_type, content_encoding="gzip")
    caller = await site.caller()
    answer = await site.post(caller, chat(MAIL, stream=stream, max_tokens=CAP))
    assert answer.status_code == 502
    assert answer.json()["error"]["type"] == "server_error"
    assert (await site.settlement(answer))["outcome"] == "kept"


async def test_a_compressed_answer_that_nobody_reads_passes_and_what_was_reserved_stands(
    site: Site, upstream: StubUpstream
) -> None:
    upstream.answer = whole(gzip.compress(b"{}"), content_encoding="gzip")
    caller = await site.caller()
    answer = await site.post(caller, chat(max_tokens=CAP))
    assert (answer.status_code, answer.content) == (200, b"{}")
    await site.settlement(answer)
    assert await site.spent(caller) == RESERVED


UNBELIEVABLE: Mapping[str, Mapping[str, object]] = {
    "negative": {"prompt_tokens": -5, "completion_tokens": -3},
    "huge": {"prompt_tokens": 5, "completion_tokens": 1e29},
    "text": {"prompt_tokens": "5", "completion_tokens": "3"},
    "a prompt alone": {"prompt_tokens": 5},
    "null": {"prompt_tokens": 5, "completion_tokens": None},
    "empty": {},
}


@pytest.mark.parametrize("usage", UNBELIEVABLE.values(), ids=UNBELIEVABLE)
@pytest.mark.parametrize("stream", [False, True])
async def test_usage_nobody_can_believe_leaves_what_was_reserved(
    site: Site, upstream: StubUpstream, usage: Mapping[str, object], stream: bool
) -> None:
    if stream:
        upstream.answer = whole(events(CHUNK, {"choices": [], "usage": usage}), EVENTS)
    else:
        upstream.answer = whole(json.dumps({"usage": usage}).encode())
    caller = await site.caller()
    await site.settlement(await site.post(caller, chat(stream=stream, max_tokens=CAP)))
    assert await site.spent(caller) == RESERVED


@pytest.mark.parametrize("text", ["hi", MAIL], ids=["unread", "read"])
@pytest.mark.parametrize("asked", [False, True], ids=["asked for JSON", "asked for a stream"])
@pytest.mark.parametrize("team", ["research", WATCHED])
async def test_usage_is_read_from_whatever_kind_of_answer_comes(
    site: Site, upstream: StubUpstream, team: str, asked: bool, text: str
) -> None:
    caller = await site.caller(team)
    for answer in (whole(json.dumps({"usage": USAGE}).encode()), whole(events(CHUNK, {"choices": [], "usage": USAGE}), EVENTS)):
        upstream.answer = answer
        before = await site.spent(caller)
        await site.settlement(await site.post(caller, chat(text, stream=asked, max_tokens=CAP)))
        assert await site.spent(caller) - before == 8


async def test_an_upstream_does_not_speak_in_headraces_name(site: Site, upstream: StubUpstream) -> None:
    upstream.answer = whole(b"{}", x_headrace_route="elsewhere", x_headrace_exchange="hx1", x_ratelimit_limit_tokens="7")
    caller = await site.caller()
    answer = await site.post(caller, chat())
    assert answer.headers["x-headrace-route"] == "standard"
    assert answer.headers["x-headrace-exchange"] != "hx1"
    assert answer.headers["x-ratelimit-limit-tokens"] != "7"
