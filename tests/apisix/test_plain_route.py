"""A plain route whose upstream the plugin calls itself, for what the service must read: as nginx would have called it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from headrace.ext_proc.core.effects import Release
from tests.apisix.nginx import missing
from tests.apisix.streaming import delta, event
from tests.apisix.test_gateway import BUDGETED, CHAT, CONSUMER, TURN, USAGE, Gateway, gateway
from tests.transcripts.site import WAIT, until

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio, pytest.mark.skipif(bool(missing()), reason=missing())]

Answering = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
BODY = TURN.request.body


async def raw(gateway: Gateway, head: str, body: bytes = b"", *, continues: bool = False) -> bytes:
    """The answer to a request as it is written; clients tidy it up. continues: the body waits until it is asked for."""
    async with asyncio.timeout(WAIT):
        reader, writer = await asyncio.open_unix_connection(gateway.log.parent / "plain.sock")
        writer.write(head.encode() + b"\r\nhost: gateway\r\nconnection: close\r\n\r\n")
        if continues:
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100 ")
        writer.write(body)
        answer = await reader.read()
        writer.close()
        return answer


LENGTH = f"content-type: application/json\r\ncontent-length: {len(BODY)}"
SPELLED = [
    "/v1/chat%2Fcompletions",
    "/openai%20HTTP%2F1.1%0d%0Ahost:%20a%0d%0A%0d%0APOST%20/v1/chat/completions",
    "/v1//chat/completions?a=%20b",
    "/v1/chat/completions?a=b?c&d=",
    "/v1/chat/completions?",
]  # fmt: skip


@pytest.mark.parametrize("path", SPELLED)
async def test_the_upstream_gets_the_path_as_the_caller_has_written_it(path: str, tmp_path: Path) -> None:
    """APISIX's own `request_uri` has escapes resolved: a line's end in a path must not end the request's line."""
    async with gateway(tmp_path, stands=CONSUMER) as it:
        answer = await raw(it, f"POST {path} HTTP/1.1\r\n{LENGTH}", BODY)
        assert answer.startswith(b"HTTP/1.1 200 ")
        [received] = it.stand.upstreams[0].received
        assert (received.path, received.body) == (path, BODY)


async def test_bytes_that_the_client_of_the_upstream_does_not_take_are_escaped(tmp_path: Path) -> None:
    """nginx lets them through; lua-resty-http would not send the request."""
    async with gateway(tmp_path, stands=CONSUMER) as it:
        answer = await raw(it, f"POST /v1/chat/completions?a=<b>`#c HTTP/1.1\r\n{LENGTH}", BODY)
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert it.stand.upstreams[0].received[0].path == "/v1/chat/completions?a=%3Cb%3E%60%23c"


async def test_a_request_that_the_client_of_the_upstream_does_not_send_is_not_charged(tmp_path: Path) -> None:
    """nginx lets control characters of a header through."""
    async with gateway(tmp_path, stands=CONSUMER, policy=BUDGETED) as it:
        answer = await raw(it, f"POST /v1/chat/completions HTTP/1.1\r\n{LENGTH}\r\nx-odd: a\x01b", BODY)
        assert answer.startswith(b"HTTP/1.1 503 ")
        await until(lambda: len(it.site.settled) == 1, "the end")
        assert isinstance(it.site.settled[0], Release)
        assert it.received == 0


async def test_a_deployment_of_azures_is_read_as_the_caller_has_written_it(tmp_path: Path) -> None:
    async with gateway(tmp_path, stands=CONSUMER) as it:
        path = "/openai/deployments/llama%2D3.3-70b/chat/completions"
        assert (await raw(it, f"POST {path} HTTP/1.1\r\n{LENGTH}", BODY)).startswith(b"HTTP/1.1 200 ")
        [decision] = [one.members for one in it.site.decisions]
        assert decision["model"] == CHAT["model"]


@asynccontextmanager
async def answered_by(answering: Answering, folder: Path, **conf: Any) -> AsyncIterator[Gateway]:
    server = await asyncio.start_server(answering, "127.0.0.1", 0)
    async with server, gateway(folder, stands=CONSUMER | conf, port=server.sockets[0].getsockname()[1]) as it:
        yield it


async def request_of(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    await reader.readexactly(len(BODY))
    return head


@pytest.mark.parametrize("version", ["1.0", "1.1"])
async def test_an_answer_that_ends_with_its_connection_is_whole(version: str, tmp_path: Path) -> None:
    said = event({"choices": [], "usage": USAGE})[6:-2]

    async def answering(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request_of(reader)
        writer.write(f"HTTP/{version} 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n\r\n".encode() + said)
        writer.close()

    async with answered_by(answering, tmp_path) as it:
        answer = await it.chat(ai=False)
        assert (answer.status_code, answer.content) == (200, said)


async def test_a_stream_that_ends_with_its_connection_comes_piece_by_piece(tmp_path: Path) -> None:
    first_has_come = asyncio.Event()

    async def answering(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request_of(reader)
        writer.write(b"HTTP/1.0 200 OK\r\ncontent-type: text/event-stream\r\n\r\n" + delta("one "))
        await first_has_come.wait()
        writer.write(delta("two") + b"data: [DONE]\n\n")
        writer.close()

    async with answered_by(answering, tmp_path) as it:
        async with it.plain.stream("POST", TURN.request.path, content=BODY) as answer:
            said = b""
            async for piece in answer.aiter_raw():
                said += piece
                first_has_come.set()
        assert said == delta("one ") + delta("two") + b"data: [DONE]\n\n"


async def test_a_model_server_that_knows_no_expectations_is_not_told_of_any(tmp_path: Path) -> None:
    """nginx has read the body by then, and has said 100 Continue itself."""
    heads = []

    async def answering(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await request_of(reader))
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}")
        writer.close()

    async with answered_by(answering, tmp_path) as it:
        answer = await raw(it, f"POST {TURN.request.path} HTTP/1.1\r\n{LENGTH}\r\nexpect: 100-continue", BODY, continues=True)
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert b"expect" not in heads[0]


TIMES = [
    {"upstream_conf": {"timeout": {"connect": 6, "send": 6, "read": 0.2}}},
    {"upstream_conf": {}, "matched_route": {"value": {"timeout": {"connect": 6, "send": 6, "read": 0.2}}}},
]


@pytest.mark.parametrize("times", TIMES)
async def test_the_upstreams_time_outs_are_kept(times: dict[str, Any], tmp_path: Path) -> None:
    """Of the route before the upstream's, as nginx is given them by APISIX."""

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with answered_by(silent, tmp_path, **times) as it, asyncio.timeout(WAIT / 2):
        answer = await it.chat(ai=False)
        assert (answer.status_code, answer.headers["x-headrace-reason"]) == (504, "upstream.timeout")
