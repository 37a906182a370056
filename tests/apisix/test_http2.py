"""The plugin and a service that says wrong and odd things on HTTP/2: no hang, no crash, and a failure goes the way it is told."""

import asyncio
import re

import httpx
import pytest

from headrace.ext_proc.envoy.h2 import frames
from headrace.ext_proc.envoy.h2.frames import Flag, Kind, Setting
from tests.apisix.faulty import CHAT, PATH, Stand
from tests.apisix.http2_faults import FAULTS, ODD, SILENCE
from tests.apisix.nginx import missing
from tests.apisix.raw_peer import GREETING, Play, Script, Wire, data, head, message, setting, to_body, to_headers, trailers
from tests.transcripts.site import WAIT

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(bool(missing()), reason=missing()),
]

NARROW = Script(greeting=setting(Setting.INITIAL_WINDOW_SIZE, 0))
SIGNS = {"ping": frames.ping(b"12345678", ack=False), "extension": frames.frame(0xEE, 0, 0, b"x"), "data": data(b"")}
LONG = b'{"model": "m", "messages": [], "x": "%b"}' % (b"long " * 60_000)


@pytest.mark.parametrize("name", FAULTS)
async def test_a_fault_refuses_the_request_and_is_named_in_the_log(name: str, faulty: Stand) -> None:
    faulty.peer.play, words = FAULTS[name]
    answer = await faulty.post()
    assert (answer.status_code, answer.headers["x-headrace-reason"]) == (503, "gateway.unavailable")
    assert answer.json()["error"]["code"] == "gateway.unavailable"
    assert re.search(words, faulty.logged())
    assert not faulty.upstream.received


@pytest.mark.parametrize("name", FAULTS)
async def test_a_fault_lets_the_request_pass_unchanged_where_it_may(name: str, faulty: Stand) -> None:
    faulty.peer.play, words = FAULTS[name]
    answer = await faulty.post(passing=True)
    assert answer.status_code == 200
    assert re.search(words, faulty.logged(faulty.open))
    [received] = faulty.upstream.received
    assert received.body == CHAT
    assert "x-checked" not in received.headers


async def given_up(stand: Stand, *, passing: bool = False) -> httpx.Response:
    """The answer to a request that the service does not answer in time."""
    async with asyncio.timeout(WAIT):
        answer = await stand.post(LONG if stand.peer.play == NARROW else CHAT, passing=passing)
    assert "timeout" in stand.logged(stand.open if passing else stand.closed)
    return answer


@pytest.mark.parametrize("name", SILENCE)
async def test_silence_is_given_up_in_time(name: str, hasty: Stand) -> None:
    hasty.peer.play = SILENCE[name]
    assert (await given_up(hasty)).status_code == 503
    assert not hasty.upstream.received
    assert (await given_up(hasty, passing=True)).status_code == 200
    assert len(hasty.upstream.received) == 1


@pytest.mark.parametrize("name", ODD)
async def test_what_is_odd_but_allowed_changes_nothing(name: str, faulty: Stand) -> None:
    """By the same process that has seen every fault."""
    faulty.peer.play = ODD[name]
    answer = await faulty.post()
    assert (answer.status_code, answer.headers["x-headrace-exchange"]) == (200, "e1")
    assert faulty.logged() == ""
    [received] = faulty.upstream.received
    assert (received.body, received.headers["x-checked"]) == (CHAT, "yes")


@pytest.mark.parametrize(("size", "length"), [(1, 33_000), (100, 40_000), (16_384, 300_000), (65_535, 300_000)])
async def test_no_more_is_sent_than_the_windows_allow(size: int, length: int, faulty: Stand) -> None:
    """The wire holds every frame against the windows it has given."""
    body = LONG[:length]

    async def narrow(wire: Wire) -> None:
        wire.narrow(size)
        granting = asyncio.create_task(_grant(wire, size))
        assert (await wire.message()).HasField("request_headers")
        wire.widen(32_500, 1)
        wire.say(head(), data(message(to_headers())))
        assert (await wire.message()).request_body.body == body
        wire.say(data(message(to_body())), trailers())
        granting.cancel()
        await wire.gone()

    faulty.peer.play = narrow
    assert (await faulty.post(body)).status_code == 200
    [received] = faulty.upstream.received
    assert received.body == body


async def _grant(wire: Wire, size: int) -> None:
    """Gives each window back when it is used up."""
    while True:
        if wire.windows.get(1, 0) < 0 or wire.window == 0 or wire.windows.get(1) == 0:
            wire.widen(max(size, -wire.windows[1]), 1)
        await asyncio.sleep(0)


async def test_a_window_that_shrinks_below_nothing_is_waited_for(faulty: Stand) -> None:
    async def shrink(wire: Wire) -> None:
        wire.say(GREETING)
        await wire.message()
        wire.say(head(), data(message(to_headers())))
        await wire.until(lambda _: wire.window == 0)
        wire.narrow(100)
        await wire.until(lambda _: wire.windows[1] < 0)
        wire.widen(1 << 20)
        wire.widen(1 << 20, 1)
        assert (await wire.message()).request_body.body == LONG
        wire.say(data(message(to_body())), trailers())
        await wire.gone()

    faulty.peer.play = shrink
    assert (await faulty.post(LONG)).status_code == 200


async def test_a_service_that_takes_nothing_is_given_up_in_time(hasty: Stand) -> None:
    hasty.peer.play = NARROW
    assert (await given_up(hasty)).status_code == 503


async def test_a_service_that_sends_before_it_reads_is_held_to_its_window(faulty: Stand) -> None:
    async def pour(wire: Wire) -> None:
        wire.say(GREETING)
        await wire.message()
        wire.say(head(), data(message(to_headers())))
        await wire.until(lambda _: wire.window == 0)
        for _ in range(100):
            wire.say(data(b"\0" * 16_384))
        await wire.gone()

    faulty.peer.play = pour
    assert (await faulty.post(LONG)).status_code == 503
    assert "more data than was granted" in faulty.logged()


async def test_a_large_answer_is_granted_as_it_is_taken(faulty: Stand) -> None:
    """A request of 3 MiB comes back as large, within a window of 1 MiB."""
    body = b'"%b"' % (b"x" * (3 << 20))
    changed = to_body()
    changed.request_body.response.body_mutation.body = body
    said = message(changed)

    async def large(wire: Wire) -> None:
        wire.say(GREETING)
        await wire.message()
        wire.say(head(), data(message(to_headers())))
        await wire.message()
        for at in range(0, len(said), 16_384):
            wire.say(data(said[at : at + 16_384]))
        wire.say(trailers())
        grants = [0, 0]
        while min(grants) < 2 << 20:
            await wire.listen()
            updates = [frame for frame in wire.heard if frame.kind == Kind.WINDOW_UPDATE]
            grants = [sum(int.from_bytes(one.payload) for one in updates if one.stream == stream) for stream in (0, 1)]
        await wire.gone()

    faulty.peer.play = large
    assert (await faulty.post()).status_code == 200
    [received] = faulty.upstream.received
    assert received.body == body


async def test_pings_are_answered_with_what_they_carry(faulty: Stand) -> None:
    async def ping(wire: Wire) -> None:
        wire.say(GREETING, frames.ping(b"are you?", ack=False))
        await wire.until(lambda frame: frame.kind == Kind.PING and frame.flags == Flag.ACK and frame.payload == b"are you?")
        await wire.until(lambda frame: frame.kind == Kind.SETTINGS and frame.flags == Flag.ACK)
        await Script(greeting=b"")(wire)

    faulty.peer.play = ping
    assert (await faulty.post()).status_code == 200


def dripping(drop: bytes, first: bytes = b"") -> Play:
    """Says `drop` again and again, more often than any time-out."""

    async def drip(wire: Wire) -> None:
        wire.say(GREETING, head(), first)
        gone = asyncio.create_task(wire.gone())
        while not gone.done():
            wire.say(drop)
            await asyncio.wait([gone], timeout=0.03)

    return drip


@pytest.mark.parametrize("drop", SIGNS)
async def test_signs_of_life_are_no_answer(drop: str, hasty: Stand) -> None:
    """A frame that comes before every time-out would hold the request for ever."""
    hasty.peer.play = dripping(SIGNS[drop])
    assert (await given_up(hasty)).status_code == 503


async def test_an_answer_that_comes_byte_by_byte_is_given_up_in_time(hasty: Stand) -> None:
    hasty.peer.play = dripping(b"\0", first=frames.head(Kind.DATA, 0, 1, 10_000))
    assert (await given_up(hasty)).status_code == 503


async def test_a_flood_does_not_keep_others_from_being_served(faulty: Stand) -> None:
    """While one connection pours frames that carry a byte each, another request goes through."""
    pouring, served = asyncio.Event(), asyncio.Event()

    async def pour(wire: Wire) -> None:
        faulty.peer.play = Script()
        wire.say(GREETING, head(), data(b"\0\0\xff\xff\xff"))
        while not served.is_set():
            wire.say(data(b"\0") * 6000)
            await wire.writer.drain()
            pouring.set()

    faulty.peer.play = pour
    first = asyncio.create_task(faulty.post())
    await pouring.wait()
    assert (await faulty.post()).status_code == 200
    served.set()
    assert (await first).status_code == 503


async def test_nobody_listening_is_a_refusal(faulty: Stand) -> None:
    async def slam(wire: Wire) -> None:
        wire.writer.close()

    faulty.peer.play = slam
    answer = await faulty.post()
    assert answer.status_code == 503
    assert not faulty.upstream.received


async def test_an_anthropic_caller_is_refused_in_its_dialect(faulty: Stand) -> None:
    faulty.peer.play, _ = FAULTS["a reset"]
    answer = await faulty.post(path="/v1/messages")
    assert answer.json()["error"]["type"] == "overloaded_error"
    assert PATH not in answer.text
