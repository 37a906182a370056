"""The bench's streams: a model that sends its next event when the caller has the last one, and the caller."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

from tests.envoy.stub_upstream import Received, Reply, StubUpstream

STREAM_POLICY = """version: 1
models:
  - {name: llama-3.3-70b, price: {input: 0.6, output: 0.8}, max_output: 100}
budgets:
  - {name: everybody, per: [organisation], limit: {tokens: 1000000000000}, window: month}
filters:
  - budget: {}
  - usage: {on_hang_up: count}
"""
"""`count` has every event read by the service; nothing is held back."""

CHAT = {"model": "llama-3.3-70b", "messages": [{"role": "user", "content": "Hello"}], "stream": True}
EVENT = b'data: {"id": "c", "object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {"content": " water"}}]}\n\n'
USAGE = b'data: {"choices": [], "usage": {"prompt_tokens": 8, "completion_tokens": 5}}\n\ndata: [DONE]\n\n'
WHOLE = b'{"choices": [], "usage": {"prompt_tokens": 8, "completion_tokens": 5}}'
EVENTS_END = b"[DONE]"


class Turns:
    """The model. go: one for each event that may be sent, False for the end. sent: when the last event left, in seconds."""

    def __init__(self, server: StubUpstream) -> None:
        self.go: asyncio.Queue[bool] = asyncio.Queue()
        self.sent = 0.0
        self._server = server
        server.answer = self._answer

    @staticmethod
    @asynccontextmanager
    async def serving() -> AsyncIterator["Turns"]:
        async with StubUpstream("standard") as server:
            yield Turns(server)

    @property
    def url(self) -> str:
        return self._server.url

    async def _answer(self, received: Received, reply: Reply) -> None:
        if not json.loads(received.body).get("stream"):
            await reply.whole(WHOLE)
            return
        await reply.begin()
        while await self.go.get():
            self.sent = time.perf_counter()
            await reply.send(EVENT)
        await reply.send(USAGE)
        await reply.end()


async def chunk_times(model: Turns, url: str, chunks: int) -> Sequence[float]:
    """Seconds from the model to the caller, for each event of one stream."""
    address, body = urlsplit(url), json.dumps(CHAT).encode()
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nhost: gateway\r\ncontent-type: application/json\r\n")
    writer.write(b"content-length: %d\r\n\r\n" % len(body) + body)
    times = []
    for _ in range(chunks):
        model.go.put_nowait(True)
        await reader.readuntil(b"water")
        times.append(time.perf_counter() - model.sent)
    model.go.put_nowait(False)
    await reader.readuntil(EVENTS_END)
    writer.close()
    await writer.wait_closed()
    return times
