"""What a hostile peer may ask for: floods end its connection, honest use at any rate that Envoy reaches does not."""

from collections.abc import Callable

import pytest

from headrace.ext_proc.envoy.h2 import frames, limits
from headrace.ext_proc.envoy.h2.errors import ConnectionFault, ErrorCode
from headrace.ext_proc.envoy.h2.events import Data, Opened, Reset
from headrace.ext_proc.envoy.h2.frames import Flag, Kind, Setting
from headrace.ext_proc.envoy.h2.limits import BURST, MAX_STREAMS, PER_SECOND
from headrace.ext_proc.envoy.transport import Status
from tests.envoy.h2.wire import REQUEST, Peer, block, data, headers

NO_GRPC = block((":method", "GET"), (":scheme", "http"), (":path", "/"))
MALFORMED = block((":method", "GET"))
FLOODS: dict[str, Callable[[int], bytes]] = {
    "SETTINGS": lambda _: frames.settings({}),
    "acknowledgements": lambda _: frames.SETTINGS_ACK,
    "PING": lambda _: frames.ping(b"12345678", ack=False),
    "PRIORITY": lambda _: frames.frame(Kind.PRIORITY, 0, 1, b"\0\0\0\0\1"),
    "GOAWAY": lambda _: frames.goaway(0, ErrorCode.NO_ERROR),
    "empty DATA": lambda _: data(1, b""),
    "DATA for a closed stream": lambda _: data(1_001, b"x"),
    "resets of a closed stream": lambda _: frames.rst_stream(1_001, ErrorCode.CANCEL),
    "windows of a closed stream": lambda _: frames.window_update(1_001, 1),
    "windows of an open stream": lambda _: frames.window_update(1, 1),
    "windows of the connection": lambda _: frames.window_update(0, 1),
    "padding": lambda _: frames.frame(Kind.DATA, Flag.PADDED, 1, b"\0"),
    "extensions": lambda _: frames.frame(0xEE, 0, 0),
    "rapid reset": lambda number: headers(2_001 + 2 * number) + frames.rst_stream(2_001 + 2 * number, ErrorCode.CANCEL),
    "no gRPC": lambda number: frames.frame(Kind.HEADERS, Flag.END_HEADERS, 2_001 + 2 * number, NO_GRPC),
    "malformed": lambda number: frames.frame(Kind.HEADERS, Flag.END_HEADERS, 2_001 + 2 * number, MALFORMED),
    "made you reset": lambda number: headers(2_001 + 2 * number) + frames.window_update(2_001 + 2 * number, 2**31 - 1),
}


def victim() -> Peer:
    """Stream 1 is open; those up to 2,000 are closed."""
    peer = Peer()
    peer.say(headers(1), headers(1_999))
    peer.connection.end(1_999, Status.OK)
    peer.listen()
    peer.heard.clear()
    return peer


@pytest.mark.parametrize("flood", FLOODS.values(), ids=FLOODS.keys())
def test_a_flood_ends_the_connection(flood: Callable[[int], bytes]) -> None:
    peer = victim()
    for number in range(0, BURST + 2_000, 500):
        peer.say(*map(flood, range(number, number + 500)))
    assert peer.ended() == ErrorCode.ENHANCE_YOUR_CALM
    assert peer.connection.streams == 0


@pytest.mark.parametrize("flood", FLOODS.values(), ids=FLOODS.keys())
def test_the_same_at_a_bearable_rate_does_not(flood: Callable[[int], bytes]) -> None:
    peer = victim()
    for number in range(0, 2 * BURST, 500):
        peer.say(*map(flood, range(number, number + 500)))
        peer.heard.clear()
        peer.now += 1.1 * 500 / PER_SECOND
    assert not peer.connection.over


def test_all_streams_of_a_connection_may_be_reset_at_once() -> None:
    """A proxy that has waited in vain takes everything back."""
    peer = Peer()
    numbers = range(1, 2 * (MAX_STREAMS - 10), 2)
    peer.say(*map(headers, numbers))
    peer.say(*[frames.rst_stream(number, ErrorCode.CANCEL) for number in numbers])
    assert not peer.connection.over
    assert peer.connection.streams == 0


def test_resets_of_answered_streams_are_no_attack() -> None:
    peer = Peer()
    for number in range(1, 4 * BURST, 2):
        peer.say(headers(number))
        peer.connection.message(number, b"answer")
        peer.say(frames.rst_stream(number, ErrorCode.CANCEL))
        peer.heard.clear()
    assert not peer.connection.over


def test_settings_that_move_many_windows_cost_more() -> None:
    peer = Peer()
    peer.say(*map(headers, range(1, 2 * 5_000, 2)))
    for number in range(BURST // 50 + 10):
        peer.say(frames.settings({Setting.INITIAL_WINDOW_SIZE: number}))
    assert peer.ended() == ErrorCode.ENHANCE_YOUR_CALM


def test_one_stream_too_many_is_refused_and_the_others_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    peer = Peer()
    opened = peer.say(*map(headers, range(1, 2 * MAX_STREAMS, 2)))
    assert {type(event) for event in opened} == {Opened}
    assert not peer.say(headers(2 * MAX_STREAMS + 1))
    assert peer.heard[-1].payload == int(ErrorCode.REFUSED_STREAM).to_bytes(4, "big")
    assert peer.say(data(1, b"x")) == [Data(1, b"x")]
    peer.say(frames.rst_stream(1, ErrorCode.CANCEL))
    assert [type(event) for event in peer.say(headers(2 * MAX_STREAMS + 3))] == [Opened]


def test_a_byte_at_a_time_costs_no_more_memory_than_a_frame() -> None:
    peer = victim()
    said = data(1, b"x" * 10_000)
    events = [event for at in range(len(said)) for event in peer.say(said[at : at + 1])]
    assert events == [Data(1, b"x" * 10_000)]
    assert len(peer.connection._frames._rest) == 0


def test_windows_of_one_byte_gain_the_peer_nothing() -> None:
    peer = Peer({Setting.INITIAL_WINDOW_SIZE: 0})
    peer.say(headers(1))
    peer.connection.message(1, b"x" * 1_000)
    for _ in range(1_005):
        peer.say(frames.window_update(1, 1))
    assert len(peer.got(1)) == 1_005


def test_a_large_message_a_byte_at_a_time_ends_the_connection() -> None:
    peer = Peer({Setting.INITIAL_WINDOW_SIZE: 0})
    peer.say(headers(1))
    peer.connection.message(1, b"x" * 1_000_000)
    for _ in range(30):
        peer.say(frames.window_update(1, 1) * 500)
        peer.heard.clear()
    assert peer.connection.over


@pytest.mark.parametrize("size", [10, 100_000])
def test_a_peer_that_gives_every_frame_back_and_resets_late_may_go_on_for_ever(size: int) -> None:
    """Windows for the stream and the connection with every frame, and two frames after the end."""
    peer = Peer()
    for number in range(1, 2 * BURST, 2):
        peer.say(headers(number))
        peer.connection.message(number, b"x" * size)
        given = 5 + size
        while given:
            more = min(given, frames.MAX_FRAME)
            given -= more
            peer.say(frames.window_update(0, more), frames.window_update(number, more))
        peer.connection.end(number, Status.OK)
        peer.say(frames.window_update(number, 1), frames.rst_stream(number, ErrorCode.NO_ERROR))
        peer.heard.clear()
    assert not peer.connection.over


def test_the_frames_that_a_peer_has_earned_have_a_limit() -> None:
    patience = limits.Patience()
    patience.earn(2 * limits.MOST_EARNED)
    for _ in range(limits.MOST_EARNED + BURST):
        patience.spend_earned(1_000.0)
    with pytest.raises(ConnectionFault):
        patience.spend_earned(1_000.0)


def test_a_stream_is_reset_once_however_often_it_offends() -> None:
    peer = victim()
    peer.say(frames.frame(Kind.HEADERS, Flag.END_HEADERS, 1, block(*REQUEST)))  # trailers that are not the end
    again = peer.say(frames.frame(Kind.HEADERS, Flag.END_HEADERS, 1, block(*REQUEST)), data(1, b"x"))
    assert [event for event in again if isinstance(event, Reset)] == []
    assert peer.kinds() == [Kind.RST_STREAM]


def test_the_patience_of_a_connection_comes_back() -> None:
    patience = limits.Patience()
    patience.spend(1_000.0, BURST)
    patience.spend(1_001.0, PER_SECOND)
    with pytest.raises(ConnectionFault):
        patience.spend(1_001.0, 1)
