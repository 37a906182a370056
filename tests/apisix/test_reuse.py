"""A connection carries one exchange after the other; nothing may be left behind, and what has not begun is asked again."""

from collections.abc import Awaitable, Callable

import pytest

from headrace.ext_proc.envoy.h2 import frames
from headrace.ext_proc.envoy.h2.errors import ErrorCode
from headrace.ext_proc.envoy.h2.frames import Flag, Kind
from tests.apisix.faulty import Stand, faulty_stand
from tests.apisix.nginx import missing
from tests.apisix.raw_peer import GREETING, Script, Wire, data, head, message, to_body, to_headers, trailers

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(bool(missing()), reason=missing()),
]

BODY = b'{"x": "%b"}' % (b"x" * 30_000)


async def answer(wire: Wire, stream: int) -> None:
    """One good exchange."""
    await wire.message()
    await wire.message()
    wire.say(head(stream), data(message(to_headers()) + message(to_body()), stream), trailers(stream))


def exchanges(then: Callable[[Wire], Awaitable[None]] | None = None, count: int = 1) -> Callable[[Wire], Awaitable[None]]:
    """Answers `count` of them well, and goes on with `then` when the next one has come. Every later connection is good."""
    connections = 0

    async def play(wire: Wire) -> None:
        nonlocal connections
        connections += 1
        wire.say(GREETING)
        last = 1_000_000 if then is None or connections > 1 else 2 * count
        for stream in range(1, last, 2):
            await answer(wire, stream)
        if then is not None:
            await wire.message()
            await then(wire)

    return play


def opened(wire: Wire) -> list[int]:
    return [frame.stream for frame in wire.heard if frame.kind == Kind.HEADERS]


async def test_one_connection_carries_many_exchanges(faulty: Stand) -> None:
    faulty.peer.play = exchanges()
    for _ in range(5):
        assert (await faulty.post()).status_code == 200
    [wire] = faulty.peer.wires
    assert opened(wire) == [1, 3, 5, 7, 9]
    assert sum(frame.kind == Kind.SETTINGS and not frame.flags for frame in wire.heard) == 1


async def test_both_sides_end_every_stream(faulty: Stand) -> None:
    faulty.peer.play = exchanges()
    for _ in range(3):
        assert (await faulty.post()).status_code == 200
    [wire] = faulty.peer.wires
    await wire.until(lambda frame: frame.stream == 5 and frame.kind == Kind.DATA and bool(frame.flags & Flag.END_STREAM))
    ended = [frame.stream for frame in wire.heard if frame.kind == Kind.DATA and frame.flags & Flag.END_STREAM]
    assert ended == [1, 3, 5]
    assert not [frame for frame in wire.heard if frame.kind == Kind.RST_STREAM]


async def test_windows_of_the_connection_go_on_where_they_were(faulty: Stand) -> None:
    """The wire holds all DATA of all streams against the one window of the connection."""

    async def play(wire: Wire) -> None:
        wire.say(GREETING)
        for stream in (1, 3):
            await answer(wire, stream)
        await wire.until(lambda _: wire.window == 0)
        wire.widen(1 << 20)
        await answer(wire, 5)
        await wire.gone()

    faulty.peer.play = play
    for _ in range(3):
        assert (await faulty.post(BODY)).status_code == 200
    assert len(faulty.peer.wires) == 1
    assert [received.body for received in faulty.upstream.received] == [BODY] * 3


async def test_settings_go_on_to_count(faulty: Stand) -> None:
    async def play(wire: Wire) -> None:
        wire.say(GREETING)
        wire.narrow(40_000)
        for stream in (1, 3):
            await answer(wire, stream)
        await wire.gone()

    faulty.peer.play = play
    assert (await faulty.post()).status_code == 200
    wire = faulty.peer.wires[0]
    assert wire.first_window == 40_000
    assert (await faulty.post(b"1" * 32_768)).status_code == 200
    assert len(faulty.peer.wires) == 1


async def test_a_connection_that_was_closed_meanwhile_is_replaced(faulty: Stand) -> None:
    async def play(wire: Wire) -> None:
        wire.say(GREETING)
        await answer(wire, 1)

    faulty.peer.play = play
    for _ in range(3):
        assert (await faulty.post()).status_code == 200
    assert len(faulty.peer.wires) == 3
    assert len(faulty.upstream.received) == 3


async def closes(wire: Wire) -> None:
    wire.writer.close()


async def leaves(wire: Wire) -> None:
    wire.say(frames.goaway(1, ErrorCode.NO_ERROR))
    await wire.gone()


async def refuses(wire: Wire) -> None:
    wire.say(frames.rst_stream(3, ErrorCode.REFUSED_STREAM))
    await wire.gone()


@pytest.mark.parametrize("then", [closes, leaves, refuses])
async def test_an_exchange_that_cannot_have_begun_is_asked_again(then: Callable[[Wire], Awaitable[None]], faulty: Stand) -> None:
    faulty.peer.play = exchanges(then)
    for _ in range(2):
        assert (await faulty.post()).status_code == 200
    first, second = faulty.peer.wires
    assert (opened(first), opened(second)) == ([1, 3], [1])
    assert len(faulty.upstream.received) == 2


async def resets(wire: Wire) -> None:
    wire.say(frames.rst_stream(3, ErrorCode.INTERNAL_ERROR))
    await wire.gone()


async def begins_and_closes(wire: Wire) -> None:
    wire.say(head(3))
    wire.writer.close()


@pytest.mark.parametrize("then", [resets, begins_and_closes])
async def test_an_exchange_that_may_have_begun_is_not_asked_again(then: Callable[[Wire], Awaitable[None]], faulty: Stand) -> None:
    """It may have been charged."""
    faulty.peer.play = exchanges(then)
    assert [(await faulty.post()).status_code for _ in range(2)] == [200, 503]
    assert len(faulty.peer.wires) == 1


async def test_silence_is_not_asked_again(hasty: Stand) -> None:
    async def silent(wire: Wire) -> None:
        await wire.gone()

    hasty.peer.play = exchanges(silent)
    assert [(await hasty.post()).status_code for _ in range(2)] == [200, 503]
    assert len(hasty.peer.wires) == 1


LEFT_BEHIND = {
    "half a frame": trailers() + b"\0\0",
    "a goaway": trailers() + frames.goaway(1, ErrorCode.NO_ERROR),
    "a frame that may not be": trailers() + frames.frame(Kind.PUSH_PROMISE, 0, 1, b"\0\0\0\2"),
    "a message nobody asked for": data(message(to_body())) + trailers(),
    "no end": b"",
    "a reset in place of the end": frames.rst_stream(1, ErrorCode.NO_ERROR),
}


@pytest.mark.parametrize("name", LEFT_BEHIND)
async def test_a_connection_with_something_left_behind_is_closed(name: str, faulty: Stand) -> None:
    faulty.peer.play = Script(first=data(message(to_headers()) + message(to_body())) + LEFT_BEHIND[name], second=b"", end=b"")
    for _ in range(2):
        assert (await faulty.post()).status_code == 200
    first, second = faulty.peer.wires
    assert (opened(first), opened(second)) == ([1], [1])


async def test_a_ping_while_nobody_uses_it_ends_a_connection(faulty: Stand) -> None:
    """nginx gives no connection back on which the worker has spoken meanwhile."""

    async def play(wire: Wire) -> None:
        wire.say(GREETING)
        await answer(wire, 1)
        await wire.until(lambda frame: frame.kind == Kind.DATA and bool(frame.flags & Flag.END_STREAM))
        wire.say(frames.ping(b"12345678", ack=False))
        await wire.gone()

    faulty.peer.play = play
    for _ in range(2):
        assert (await faulty.post()).status_code == 200
        await faulty.peer.wires[-1].gone()
    assert len(faulty.peer.wires) == 2


async def test_where_one_worker_is_away_another_is_asked() -> None:
    """The first address has nobody listening; requests begin with each in turn."""
    async with faulty_stand(others=("unix:/nobody/listens/here",)) as stand:
        stand.peer.play = exchanges()
        for _ in range(4):
            assert (await stand.post()).status_code == 200
        assert len(stand.upstream.received) == 4


async def test_loopback_tcp_serves_as_well() -> None:
    async with faulty_stand(tcp=True) as stand:
        stand.peer.play = exchanges()
        for _ in range(3):
            assert (await stand.post()).status_code == 200
        assert len(stand.peer.wires) == 1
        assert len(stand.upstream.received) == 3
