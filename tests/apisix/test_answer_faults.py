"""A service that fails while it reads an answer: a stream ends with an error event, a whole answer is a 503; or the rest passes."""

from collections.abc import Mapping

import pytest

from headrace.ext_proc.core.events import Reading
from headrace.ext_proc.envoy.h2 import frames
from headrace.ext_proc.envoy.h2.errors import ErrorCode
from headrace.ext_proc.envoy.h2.messages import framed
from tests.apisix.faulty import Stand
from tests.apisix.nginx import missing
from tests.apisix.raw_peer import GREETING, Play, Wire, data, head, message, to_answer, to_body, to_chunk, to_headers, trailers
from tests.envoy.stub_upstream import Received, Reply

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(bool(missing()), reason=missing()),
]

EVENTS = [b"data: one\n\n", b"data: two\n\n", b"data: three\n\n"]
WHOLE = b'{"choices": []}'

# What the service says to the second event, or to the whole answer.
FAULTS: Mapping[str, bytes] = {
    "a reset": frames.rst_stream(1, ErrorCode.INTERNAL_ERROR),
    "a clean end": trailers(),
    "an error": trailers(1, ("grpc-status", "13")),
    "bytes that are no message": data(framed(b"\xff")),
    "an answer to something else": data(message(to_headers())),
    "a goaway": frames.goaway(0, ErrorCode.INTERNAL_ERROR),
    "a frame that may not be": frames.frame(0x5, 0, 1, b"\0\0\0\2"),
    "the end of the connection": b"",
}
NAMES = pytest.mark.parametrize("name", FAULTS)
ROUTES = pytest.mark.parametrize("ai", [False, True], ids=["plain", "ai"])


def failing(reading: Reading, said: bytes) -> Play:
    """Answers well up to the first event, and then says this; nothing: closes the connection."""

    async def play(wire: Wire) -> None:
        wire.say(GREETING)
        await wire.message()
        await wire.message()
        wire.say(head(), data(message(to_headers()) + message(to_body("stream"))))
        await wire.message()
        wire.say(data(message(to_answer(reading))))
        if reading is Reading.STREAM:
            first = await wire.message()
            wire.say(data(message(to_chunk(first.response_body.body.upper()))))
        await wire.message()
        wire.say(said)
        if said:
            await wire.gone()

    return play


async def streams(_: Received, reply: Reply) -> None:
    await reply.begin()
    for event in EVENTS:
        await reply.send(event)
    await reply.end()


async def answers(_: Received, reply: Reply) -> None:
    await reply.whole(WHOLE)


@NAMES
@ROUTES
async def test_a_stream_ends_with_an_error(name: str, ai: bool, faulty: Stand) -> None:
    faulty.upstream.answer, faulty.peer.play = streams, failing(Reading.STREAM, FAULTS[name])
    answer = await faulty.post(ai=ai)
    assert answer.status_code == 200
    first, last = answer.text.split("\n\n")[0], answer.text.split("\n\n")[-2]
    assert first == "DATA: ONE"
    assert '"code": "gateway.cut"' in last
    assert "two" not in answer.text


@NAMES
@ROUTES
async def test_the_rest_of_a_stream_passes_where_it_may(name: str, ai: bool, faulty: Stand) -> None:
    faulty.upstream.answer, faulty.peer.play = streams, failing(Reading.STREAM, FAULTS[name])
    answer = await faulty.post(ai=ai, passing=True)
    assert answer.content == EVENTS[0].upper() + EVENTS[1] + EVENTS[2]


@NAMES
@ROUTES
async def test_a_whole_answer_is_a_503(name: str, ai: bool, faulty: Stand) -> None:
    faulty.upstream.answer, faulty.peer.play = answers, failing(Reading.WHOLE, FAULTS[name])
    answer = await faulty.post(ai=ai)
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "gateway.unchecked")


@NAMES
@ROUTES
async def test_a_whole_answer_passes_where_it_may(name: str, ai: bool, faulty: Stand) -> None:
    faulty.upstream.answer, faulty.peer.play = answers, failing(Reading.WHOLE, FAULTS[name])
    answer = await faulty.post(ai=ai, passing=True)
    assert (answer.status_code, answer.content) == (200, WHOLE)


@ROUTES
async def test_silence_ends_a_stream_in_time(ai: bool, hasty: Stand) -> None:
    hasty.upstream.answer, hasty.peer.play = streams, failing(Reading.STREAM, GREETING)
    answer = await hasty.post(ai=ai)
    assert '"code": "gateway.cut"' in answer.text
    assert "timeout" in hasty.logged()


async def test_an_anthropic_stream_ends_in_its_dialect(faulty: Stand) -> None:
    faulty.upstream.answer, faulty.peer.play = streams, failing(Reading.STREAM, FAULTS["a reset"])
    answer = await faulty.post(path="/v1/messages")
    assert answer.text.split("\n\n")[-2].startswith("event: error\ndata: ")
