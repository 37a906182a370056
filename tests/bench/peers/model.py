"""`python -m tests.bench.peers.model URL_FILE`: the model server of the streams, in a process of its own.

A request without `stream` is answered after `HOLD` seconds. A prompt that begins with `Case <number> ` gets that case of `leaks`,
an event every `CASE_PAUSE` seconds. Any other stream has `max_tokens` words of `TEXT`, an event each, `RATE` a second.
`GET /sent` has when they left, by the stream's name (the second word of the prompt), on this machine's monotonic clock.
"""

import asyncio
import itertools
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import uvloop

from tests.bench.upstream import ANSWER
from tests.envoy.stub_upstream import Received, Reply, StubUpstream

from .leaks import Case, cases, delta

RATE = 50
HOLD = 0.5
CASE_PAUSE = 0.004
TEXT = (
    "The water of the river turns the wheel under the mill. The wheel turns the stone, and the stone grinds the grain into flour. "
    "In the morning the miller opens the gate, and in the evening he closes it again."
)
USAGE = {"prompt_tokens": 45, "completion_tokens": 5, "total_tokens": 50}
_DONE = b"data: [DONE]\n\n"


class Message(msgspec.Struct):
    content: str


class Request(msgspec.Struct):
    """What of a chat completion request the model looks at."""

    messages: list[Message]
    stream: bool = False
    max_tokens: int = 1


class Model:
    """sent: when each event of a stream left, in seconds, by the stream's name."""

    def __init__(self, server: StubUpstream) -> None:
        self.sent: dict[str, list[float]] = {}
        self._server = server
        server.answer = self._answer

    async def _answer(self, received: Received, reply: Reply) -> None:
        self._server.received.clear()
        if received.method == "GET":
            await reply.whole(msgspec.json.encode(self.sent))
            self.sent = {}
            return
        request = msgspec.json.decode(received.body, type=Request)
        if request.stream:
            await self._stream(request, reply)
        else:
            await asyncio.sleep(HOLD)
            await reply.whole(ANSWER.encode())

    async def _stream(self, request: Request, reply: Reply) -> None:
        kind, name, *_ = request.messages[-1].content.split(" ")
        await reply.begin()
        await reply.send(event({"role": "assistant", "content": ""}))
        if kind == "Case":
            await _spell(cases()[int(name)], reply)
        else:
            await self._pace(name, request.max_tokens, reply)
        await reply.send(_last())
        await reply.end()

    async def _pace(self, name: str, events: int, reply: Reply) -> None:
        sent = self.sent.setdefault(name, [])
        start = time.monotonic()
        for index, one in enumerate(itertools.islice(itertools.cycle(_WORDS), events)):
            if (early := start + index / RATE - time.monotonic()) > 0:
                await asyncio.sleep(early)
            sent.append(time.monotonic())
            await reply.send(one)


async def _spell(case: Case, reply: Reply) -> None:
    for index, piece in enumerate(case.pieces):
        begun = {} if case.place == "content" or index else _CALL
        await reply.send(event(begun or delta(case.place, piece)))
        if begun:
            await reply.send(event(delta(case.place, piece)))
        await asyncio.sleep(CASE_PAUSE)


_CALL: Mapping[str, Any] = {
    "tool_calls": [{"index": 0, "id": "call_1", "type": "function", "function": {"name": "send_mail", "arguments": ""}}]
}


def event(delta: Mapping[str, Any], finish: str | None = None) -> bytes:
    """One chunk of a chat completion."""
    return _event([{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}])


def _event(choices: Sequence[Mapping[str, Any]], **more: Any) -> bytes:
    chunk = {"id": "chatcmpl-bench", "object": "chat.completion.chunk", "created": 1700000000, "model": "llama-3.3-70b"}
    return b"data: " + msgspec.json.encode(chunk | {"choices": choices} | more) + b"\n\n"


_WORDS = [event({"content": f"{word} "}) for word in TEXT.split()]


def _last() -> bytes:
    return event({}, finish="stop") + _event([], usage=USAGE) + _DONE


async def serve(told: Path) -> None:
    """Until the process is ended. The URL is in `told` once it listens."""
    async with StubUpstream("model") as server:
        Model(server)
        await asyncio.to_thread(told.write_text, server.url)
        await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(serve(Path(sys.argv[1])))
