"""Flow control in both directions: nothing beyond what the peer grants, everything as soon as it does, and bounds on the peer."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.ext_proc.envoy.h2 import frames
from headrace.ext_proc.envoy.h2.errors import ErrorCode
from headrace.ext_proc.envoy.h2.events import Data, Drained, Reset
from headrace.ext_proc.envoy.h2.frames import MAX_FRAME, Flag, Kind, Setting
from headrace.ext_proc.envoy.h2.limits import CONNECTION_WINDOW, STREAM_WINDOW
from headrace.ext_proc.envoy.h2.messages import framed
from headrace.ext_proc.envoy.h2.sender import DEFAULT_WINDOW, LARGEST_SENT
from headrace.ext_proc.envoy.transport import Status
from tests.envoy.h2.wire import Peer, code_of, data, headers

BIG = 2**31 - 1 - DEFAULT_WINDOW


def opened(window: int = DEFAULT_WINDOW, *, streams: int = 1, connection: int = 0) -> Peer:
    """Streams 1, 3…; connection: bytes that its window is made wider by."""
    peer = Peer({Setting.INITIAL_WINDOW_SIZE: window})
    peer.say(*[headers(1 + 2 * number) for number in range(streams)])
    if connection:
        peer.say(frames.window_update(0, connection))
    return peer


def lengths(peer: Peer, stream: int = 1) -> list[int]:
    return [len(frame.payload) for frame in peer.heard if frame.kind == Kind.DATA and frame.stream == stream]


# --- what we send -----------------------------------------------------------------------------------------------------------------


def test_a_message_waits_for_the_streams_window_and_the_status_for_the_message() -> None:
    peer = opened(10)
    peer.connection.message(1, b"0123456789")
    peer.connection.end(1, Status.OK)
    peer.listen()
    assert (lengths(peer), peer.connection.unsent(1), peer.connection.streams) == ([10], 5, 1)
    assert peer.say(frames.window_update(1, 4)) == []
    assert peer.say(frames.window_update(1, 100)) == [Drained(1)]
    assert peer.got(1) == framed(b"0123456789")
    assert peer.kinds()[-2:] == [Kind.HEADERS, Kind.RST_STREAM]
    assert (peer.status(), peer.connection.streams) == (Status.OK, 0)


def test_a_message_waits_for_the_connections_window() -> None:
    peer = opened(BIG, streams=3)
    for stream in (1, 3, 5):
        peer.connection.message(stream, b"x" * 40_000)
    peer.listen()
    assert sum(sum(lengths(peer, stream)) for stream in (1, 3, 5)) == DEFAULT_WINDOW
    peer.say(frames.window_update(0, 3 * 40_005 - DEFAULT_WINDOW - 1))
    assert sum(peer.connection.unsent(stream) for stream in (1, 3, 5)) == 1
    peer.say(frames.window_update(0, 1))
    assert [peer.got(stream) for stream in (1, 3, 5)] == [framed(b"x" * 40_000)] * 3


def test_streams_that_wait_for_the_connection_take_turns() -> None:
    peer = opened(BIG, streams=2)
    for stream in (1, 3):
        peer.connection.message(stream, b"x" * 200_000)
    peer.listen()
    peer.heard.clear()
    peer.say(frames.window_update(0, 4 * MAX_FRAME))
    assert [frame.stream for frame in peer.heard] in ([1, 3, 1, 3], [3, 1, 3, 1])


def test_frames_are_no_longer_than_the_peer_allows() -> None:
    peer = opened(BIG, connection=BIG)
    peer.connection.message(1, b"x" * 100_000)
    peer.listen()
    assert max(lengths(peer)) == MAX_FRAME
    allowing = Peer({Setting.INITIAL_WINDOW_SIZE: BIG, Setting.MAX_FRAME_SIZE: 1 << 20})
    allowing.say(headers(1), frames.window_update(0, BIG))
    allowing.connection.message(1, b"x" * 1_000_000)
    assert frames.head(Kind.DATA, 0, 1, LARGEST_SENT) in allowing.connection.take()


def test_the_first_window_may_change_while_streams_wait_and_go_below_zero() -> None:
    peer = opened(100)
    peer.connection.message(1, b"x" * 195)
    peer.listen()
    assert lengths(peer) == [100]
    peer.say(frames.settings({Setting.INITIAL_WINDOW_SIZE: 20}))  # the stream's window is 80 below zero now
    peer.say(frames.window_update(1, 80))
    assert lengths(peer) == [100]
    peer.say(frames.window_update(1, 1))
    assert lengths(peer) == [100, 1]
    events = peer.say(frames.settings({Setting.INITIAL_WINDOW_SIZE: 120}))
    assert peer.got(1) == framed(b"x" * 195)
    assert events == [Drained(1)]


def test_a_setting_that_makes_a_window_overflow_ends_the_connection() -> None:
    peer = opened(100)
    peer.say(frames.window_update(1, 2**31 - 1 - 100))
    peer.say(frames.settings({Setting.INITIAL_WINDOW_SIZE: 101}))
    assert peer.ended() == ErrorCode.FLOW_CONTROL_ERROR


@pytest.mark.parametrize("by_setting", [False, True])
def test_a_stream_that_ends_by_a_wider_window_is_forgotten(by_setting: bool) -> None:
    peer = opened(5)
    peer.connection.message(1, b"x")
    peer.connection.end(1, Status.OK)
    peer.say(frames.settings({Setting.INITIAL_WINDOW_SIZE: 6}) if by_setting else frames.window_update(1, 1))
    assert peer.connection.streams == 0


def test_what_waits_goes_with_its_stream() -> None:
    peer = opened(BIG, streams=2)
    for stream in (1, 3):
        peer.connection.message(stream, b"x" * 100_000)
    peer.say(frames.rst_stream(1, ErrorCode.CANCEL))
    peer.connection.reset(3, ErrorCode.CANCEL)
    peer.listen()
    peer.heard.clear()
    peer.say(frames.window_update(0, 1_000_000))
    assert peer.heard == []


def test_nothing_is_sent_on_a_stream_that_is_no_more() -> None:
    peer = opened()
    peer.say(frames.rst_stream(1, ErrorCode.CANCEL))
    peer.connection.message(1, b"x")
    peer.connection.end(1, Status.OK)
    peer.connection.reset(1, ErrorCode.CANCEL)
    peer.connection.credit(1, STREAM_WINDOW)
    assert peer.listen() == []


@given(
    sizes=st.lists(st.tuples(st.sampled_from([1, 3, 5]), st.integers(0, 50_000)), max_size=8),
    grants=st.lists(st.tuples(st.sampled_from([0, 1, 3, 5]), st.integers(1, 60_000)), max_size=40),
    first=st.integers(0, 70_000),
)
def test_whatever_is_granted_is_used_and_no_more(sizes: list[tuple[int, int]], grants: list[tuple[int, int]], first: int) -> None:
    peer = opened(first, streams=3)
    wanted = dict.fromkeys((1, 3, 5), b"")
    for stream, size in sizes:
        message = bytes([stream]) * size
        wanted[stream] += framed(message)
        peer.connection.message(stream, message)
    windows = {0: DEFAULT_WINDOW, 1: first, 3: first, 5: first}
    peer.listen()
    for stream, more in grants:
        peer.say(frames.window_update(stream, more))
        windows[stream] += more
    sent = {stream: len(peer.got(stream)) for stream in wanted}
    assert all(wanted[stream].startswith(peer.got(stream)) for stream in wanted)
    assert all(sent[stream] <= windows[stream] for stream in sent)
    assert sum(sent.values()) <= windows[0]
    full = sum(sent.values()) == windows[0]
    assert all(full or sent[stream] == min(windows[stream], len(wanted[stream])) for stream in sent)


# --- what we take -----------------------------------------------------------------------------------------------------------------


def test_the_peer_is_told_to_go_on_half_a_window_at_a_time() -> None:
    peer = opened()
    for at in range(STREAM_WINDOW // 2 // MAX_FRAME):
        assert not peer.heard, at
        (event,) = peer.say(data(1, b"x" * MAX_FRAME))
        assert isinstance(event, Data)
        peer.connection.credit(1, len(event.data))
        peer.listen()
    assert peer.heard == [*frames.FrameReader().feed(frames.window_update(1, STREAM_WINDOW // 2))]


def test_a_peer_that_sends_beyond_a_streams_window_loses_the_stream() -> None:
    peer = opened()
    whole = STREAM_WINDOW // MAX_FRAME
    assert len(peer.say(*[data(1, b"x" * MAX_FRAME)] * whole)) == whole
    assert peer.say(data(1, b"x")) == [Reset(1, ErrorCode.FLOW_CONTROL_ERROR)]
    assert code_of(peer.heard[-1]) == ErrorCode.FLOW_CONTROL_ERROR


def test_the_connections_window_is_given_back_whatever_streams_hold_back() -> None:
    peer = opened(streams=100)
    frame_count = CONNECTION_WINDOW // 4 // MAX_FRAME
    per_stream = STREAM_WINDOW // MAX_FRAME
    for number in range(frame_count + 1):
        peer.say(data(1 + 2 * (number // per_stream), b"x" * MAX_FRAME))
    (update,) = peer.heard
    assert [update] == [*frames.FrameReader().feed(frames.window_update(0, (frame_count + 1) * MAX_FRAME))]


def test_padding_counts_against_the_window_and_is_given_back_by_itself() -> None:
    peer = opened()
    padded = frames.frame(Kind.DATA, Flag.PADDED, 1, b"\xff" + bytes(255))
    for _ in range(2 * STREAM_WINDOW // 256):
        assert not peer.say(padded)
    assert {frame.kind for frame in peer.heard} == {Kind.WINDOW_UPDATE}
    assert peer.say(frames.frame(Kind.DATA, Flag.PADDED, 1, b"\x02ab\0\0")) == [Data(1, b"ab")]


def test_a_stream_that_has_ended_is_granted_nothing() -> None:
    peer = opened()
    peer.say(data(1, b"x", end=True))
    peer.connection.credit(1, STREAM_WINDOW)
    assert peer.listen() == []
