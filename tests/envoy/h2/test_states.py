"""Every kind of frame, wherever its stream stands."""

import pytest

from headrace.ext_proc.envoy.h2 import frames
from headrace.ext_proc.envoy.h2.errors import ErrorCode
from headrace.ext_proc.envoy.h2.events import Event, Opened, Reset
from headrace.ext_proc.envoy.h2.frames import Flag, Frame, Kind
from headrace.ext_proc.envoy.h2.stream import Where
from headrace.ext_proc.envoy.transport import Status
from tests.envoy.h2.wire import Peer, block, code_of, headers

STREAM = 3
PAYLOADS = {
    Kind.DATA: b"\0\0\0\0\1x",
    Kind.HEADERS: block((":method", "POST"), (":scheme", "http"), (":path", "/a.B/C"), ("content-type", "application/grpc")),
    Kind.PRIORITY: b"\0\0\0\0\1",
    Kind.RST_STREAM: b"\0\0\0\x08",
    Kind.SETTINGS: b"",
    Kind.PUSH_PROMISE: b"\0\0\0\2",
    Kind.PING: b"12345678",
    Kind.GOAWAY: b"\0\0\0\0\0\0\0\0",
    Kind.WINDOW_UPDATE: b"\0\0\0\1",
    Kind.CONTINUATION: b"",
}
PROTOCOL, CLOSED = ErrorCode.PROTOCOL_ERROR, ErrorCode.STREAM_CLOSED

NOTHING, GOES, RESETS, OPENS, TRAILERS = "nothing", "the connection ends", "the stream is reset", "a call opens", "the call's end"
TAKEN, BACK, ANSWER = "its data are taken", "it is taken back", "an answer"
# What must happen for a frame where its stream is: none (0), idle, open, ended by the peer, closed.
EXPECTED: dict[Kind, tuple[object, ...]] = {
    Kind.DATA: ((GOES, PROTOCOL), (GOES, PROTOCOL), TAKEN, (RESETS, CLOSED), NOTHING),
    Kind.HEADERS: ((GOES, PROTOCOL), OPENS, TRAILERS, (RESETS, CLOSED), NOTHING),
    Kind.PRIORITY: ((GOES, PROTOCOL), NOTHING, NOTHING, NOTHING, NOTHING),
    Kind.RST_STREAM: ((GOES, PROTOCOL), (GOES, PROTOCOL), BACK, BACK, NOTHING),
    Kind.SETTINGS: (ANSWER, *[(GOES, PROTOCOL)] * 4),
    Kind.PUSH_PROMISE: ((GOES, PROTOCOL),) * 5,
    Kind.PING: (ANSWER, *[(GOES, PROTOCOL)] * 4),
    Kind.GOAWAY: (NOTHING, *[(GOES, PROTOCOL)] * 4),
    Kind.WINDOW_UPDATE: (NOTHING, (GOES, PROTOCOL), NOTHING, NOTHING, NOTHING),
    Kind.CONTINUATION: ((GOES, PROTOCOL),) * 5,
}
FLAGS = {Kind.HEADERS: Flag.END_HEADERS | Flag.END_STREAM}


def standing(where: Where) -> Peer:
    """A peer whose stream STREAM stands there."""
    peer = Peer()
    if where in (Where.OPEN, Where.CLOSED):
        peer.say(headers(STREAM))
    if where is Where.ENDED:
        peer.say(headers(STREAM, flags=Flag.END_HEADERS | Flag.END_STREAM))
    if where is Where.CLOSED:
        peer.connection.end(STREAM, Status.OK)
        peer.listen()
    peer.heard.clear()
    return peer


def happened(peer: Peer, events: list[Event]) -> object:
    if peer.connection.over:
        return GOES, peer.ended()
    match peer.heard:
        case [Frame(kind=Kind.RST_STREAM) as frame]:
            return RESETS, code_of(frame)
        case [_]:
            return ANSWER
    known = {"Opened Ended": OPENS, "Ended": TRAILERS, "Data": TAKEN, "Reset": BACK, "": NOTHING}
    return known[" ".join(type(event).__name__ for event in events)]


@pytest.mark.parametrize("where", Where, ids=lambda where: where.name.lower())
@pytest.mark.parametrize("kind", Kind, ids=lambda kind: kind.name)
def test_a_frame_means_what_the_table_says(kind: Kind, where: Where) -> None:
    peer = standing(where)
    stream = 0 if where is Where.CONNECTION else STREAM
    events = peer.say(frames.frame(kind, FLAGS.get(kind, 0), stream, PAYLOADS[kind]))
    assert happened(peer, list(events)) == EXPECTED[kind][where]
    if not peer.connection.over:  # and it still serves
        assert [type(event) for event in peer.say(headers(STREAM + 2))] == [Opened] or kind is Kind.GOAWAY


WRONG = [
    (frames.frame(Kind.PING, 0, 0, b"1234567"), ErrorCode.FRAME_SIZE_ERROR),
    (frames.frame(Kind.SETTINGS, 0, 0, b"12345"), ErrorCode.FRAME_SIZE_ERROR),
    (frames.frame(Kind.SETTINGS, Flag.ACK, 0, b"123456"), ErrorCode.FRAME_SIZE_ERROR),
    (frames.frame(Kind.GOAWAY, 0, 0, b"1234567"), ErrorCode.FRAME_SIZE_ERROR),
    (frames.frame(Kind.RST_STREAM, 0, STREAM, b"123"), ErrorCode.FRAME_SIZE_ERROR),
    (frames.frame(Kind.WINDOW_UPDATE, 0, STREAM, b"123"), ErrorCode.FRAME_SIZE_ERROR),
    (frames.frame(Kind.WINDOW_UPDATE, 0, 0, b"\0\0\0\0"), ErrorCode.PROTOCOL_ERROR),
    (frames.frame(Kind.WINDOW_UPDATE, 0, 0, b"\x7f\xff\xff\xff"), ErrorCode.FLOW_CONTROL_ERROR),
    (frames.frame(Kind.HEADERS, Flag.END_HEADERS | Flag.PRIORITY, 5, b"1234"), ErrorCode.FRAME_SIZE_ERROR),
    (frames.frame(Kind.HEADERS, Flag.END_HEADERS, 4, block((":method", "POST"))), ErrorCode.PROTOCOL_ERROR),
    (frames.frame(Kind.DATA, Flag.PADDED, STREAM, b""), ErrorCode.PROTOCOL_ERROR),
    (frames.frame(Kind.DATA, Flag.PADDED, STREAM, b"\3ab"), ErrorCode.PROTOCOL_ERROR),
    (frames.head(Kind.DATA, 0, STREAM, frames.MAX_FRAME + 1), ErrorCode.FRAME_SIZE_ERROR),
    (frames.settings({frames.Setting.ENABLE_PUSH: 2}), ErrorCode.PROTOCOL_ERROR),
    (frames.settings({frames.Setting.INITIAL_WINDOW_SIZE: 2**31}), ErrorCode.FLOW_CONTROL_ERROR),
    (frames.settings({frames.Setting.MAX_FRAME_SIZE: 16_383}), ErrorCode.PROTOCOL_ERROR),
    (frames.settings({frames.Setting.MAX_FRAME_SIZE: 1 << 24}), ErrorCode.PROTOCOL_ERROR),
]


@pytest.mark.parametrize(("said", "code"), WRONG)
def test_a_frame_that_is_wrong_in_itself_ends_the_connection(said: bytes, code: ErrorCode) -> None:
    peer = standing(Where.OPEN)
    peer.say(said)
    assert peer.ended() == code
    assert peer.say(headers(STREAM + 2)) == ()


@pytest.mark.parametrize(
    ("said", "code"),
    [
        (frames.frame(Kind.PRIORITY, 0, STREAM, b"1234"), ErrorCode.FRAME_SIZE_ERROR),
        (frames.frame(Kind.WINDOW_UPDATE, 0, STREAM, b"\0\0\0\0"), ErrorCode.PROTOCOL_ERROR),
        (frames.frame(Kind.WINDOW_UPDATE, 0, STREAM, b"\x7f\xff\xff\xff"), ErrorCode.FLOW_CONTROL_ERROR),
        (headers(STREAM), ErrorCode.PROTOCOL_ERROR),
    ],
)
def test_a_fault_on_a_stream_ends_the_stream_alone(said: bytes, code: ErrorCode) -> None:
    peer = standing(Where.OPEN)
    assert peer.say(said) == [Reset(STREAM, code)]
    assert code_of(peer.heard[-1]) == code
    assert [type(event) for event in peer.say(headers(STREAM + 2))] == [Opened]


def test_a_frame_of_an_extension_is_passed_over() -> None:
    peer = standing(Where.OPEN)
    assert not peer.say(frames.frame(0xBE, 0xFF, STREAM, b"whatever"))
    assert not peer.heard


@pytest.mark.parametrize("said", [b"GET / HTTP/1.1\r\n", b"P", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r!"], ids=repr)
def test_what_is_no_http2_is_refused_as_soon_as_that_shows(said: bytes) -> None:
    peer = Peer(greets=False)
    peer.say(said)
    assert peer.ended() == (None if frames.PREFACE.startswith(said) else ErrorCode.PROTOCOL_ERROR)


@pytest.mark.parametrize("first", [frames.SETTINGS_ACK, frames.ping(b"12345678", ack=False), headers(1)])
def test_the_settings_come_first(first: bytes) -> None:
    peer = Peer(greets=False)
    peer.say(frames.PREFACE, first)
    assert peer.ended() == ErrorCode.PROTOCOL_ERROR


@pytest.mark.parametrize("other", [headers(5), frames.ping(b"12345678", ack=False), frames.frame(Kind.CONTINUATION, 4, 5)])
def test_nothing_comes_between_the_frames_of_a_header_block(other: bytes) -> None:
    peer = Peer()
    peer.say(headers(1, flags=0), other)
    assert peer.ended() == ErrorCode.PROTOCOL_ERROR


def test_after_the_peers_goaway_open_streams_go_on_and_no_other_comes() -> None:
    peer = standing(Where.OPEN)
    peer.say(frames.goaway(0, ErrorCode.NO_ERROR))
    assert not peer.connection.finished
    peer.say(headers(STREAM + 2))
    assert code_of(peer.heard[-1]) == ErrorCode.REFUSED_STREAM
    peer.connection.end(STREAM, Status.OK)
    assert peer.connection.finished


def test_a_drain_takes_the_streams_that_were_on_their_way_and_no_later_ones() -> None:
    peer = standing(Where.OPEN)
    peer.connection.drain()
    peer.connection.drain()
    goaway, ping = peer.listen()
    assert (goaway.kind, code_of(goaway), goaway.payload[:4]) == (Kind.GOAWAY, ErrorCode.NO_ERROR, b"\x7f\xff\xff\xff")
    assert [type(event) for event in peer.say(headers(5))] == [Opened]
    peer.say(frames.ping(ping.payload, ack=True))
    assert peer.heard[-1].payload[:4] == b"\0\0\0\5"
    assert not peer.say(headers(7))
    assert code_of(peer.heard[-1]) == ErrorCode.REFUSED_STREAM
    for stream in (STREAM, 5):
        assert not peer.connection.finished
        peer.connection.end(stream, Status.OK)
    assert peer.connection.finished
