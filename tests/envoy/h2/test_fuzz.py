"""Any bytes at all, and every valid conversation that the `h2` library can hold."""

import os

import h2.config
import h2.connection
import h2.events
import h2.settings
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.ext_proc.envoy.h2 import frames
from headrace.ext_proc.envoy.h2.connection import Connection
from headrace.ext_proc.envoy.h2.errors import ErrorCode
from headrace.ext_proc.envoy.h2.events import Data, Ended, Opened, Reset
from headrace.ext_proc.envoy.h2.frames import MAX_FRAME, Flag, FrameReader, Kind
from headrace.ext_proc.envoy.h2.limits import HEADER_BLOCK, STREAM_WINDOW
from headrace.ext_proc.envoy.transport import Status
from tests.envoy.h2.wire import REQUEST, Peer, block, headers

LONG = settings(max_examples=20_000 if os.environ.get("HEADRACE_LONG") else 150, deadline=None)

STREAMS = st.sampled_from([0, 1, 2, 3, 5, 7, 2**31 - 1])
PAYLOAD = st.one_of(
    st.binary(max_size=40),
    st.sampled_from([block(*REQUEST), b"\0\0\0\1", b"\x7f\xff\xff\xff", b"\0\4\0\0\0\5", b"\0\1\0\0\0\0", b"12345678"]),
    st.builds(bytes, st.integers(0, 20_000)),
)
FRAME = st.builds(frames.frame, st.integers(0, 12), st.integers(0, 255), STREAMS, PAYLOAD)
ANSWERS = st.sampled_from(["message", "end", "reset", "credit", "drain", "nothing"])


def act(connection: Connection, what: str, stream: int) -> None:
    match what:
        case "message":
            connection.message(stream, b"x" * 30_000)
        case "end":
            connection.end(stream, Status.OK)
        case "reset":
            connection.reset(stream, ErrorCode.CANCEL)
        case "credit":
            connection.credit(stream, 20_000)
        case "drain":
            connection.drain()


def bounded(connection: Connection) -> None:
    """What one peer makes a connection keep: less than a frame, a header block, and what its streams' handlers have sent."""
    assert len(connection._frames._rest) < MAX_FRAME + frames.HEADER
    assert sum(map(len, connection._blocks._parts)) <= HEADER_BLOCK + MAX_FRAME
    assert connection._preface == frames.PREFACE[: len(connection._preface)] or connection.over
    assert all(stream.allowed <= STREAM_WINDOW for stream in connection._streams.values())


@LONG
@given(pieces=st.lists(st.binary(max_size=200), max_size=10), greets=st.booleans())
def test_any_bytes_raise_nothing_and_keep_little(pieces: list[bytes], greets: bool) -> None:
    peer = Peer(greets=greets)
    for piece in pieces:
        peer.connection.receive(piece, 0.0)
        bounded(peer.connection)
    assert isinstance(peer.connection.take(), bytes)


@LONG
@given(said=st.lists(st.tuples(FRAME, ANSWERS, STREAMS), max_size=30), cut=st.integers(1, 20_000))
def test_any_frames_raise_nothing_and_whatever_is_said_back_is_http2(said: list[tuple[bytes, str, int]], cut: int) -> None:
    peer = Peer()
    live: set[int] = set()
    for frame, answer, stream in said:
        for at in range(0, len(frame), cut):
            for event in peer.connection.receive(frame[at : at + cut], 0.0):
                if isinstance(event, Opened):
                    assert event.stream not in live
                    live.add(event.stream)
                elif isinstance(event, Data | Ended | Reset):
                    assert event.stream in live
        act(peer.connection, answer, stream)
        bounded(peer.connection)
    out = peer.connection.take()
    assert sum(frames.HEADER + len(frame.payload) for frame in FrameReader().feed(out)) == len(out)


class Echo:
    """A server of our connection and a client of the h2 library's, with the wire between them. Every message is echoed."""

    def __init__(self, first_window: int) -> None:
        self.server = Connection()
        self.client = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True, header_encoding="utf-8"))
        self.client.initiate_connection()
        self.client.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: first_window})
        self.sent: dict[int, bytes] = {}
        self.heard: dict[int, bytes] = {}
        self.ended: set[int] = set()
        self.statuses: dict[int, str] = {}
        self.metadata: dict[int, str] = {}

    def exchange(self, cut: int) -> None:
        """Until neither has anything more to say."""
        while said := self.client.data_to_send():
            for at in range(0, len(said), cut):
                self._serve(said[at : at + cut])
            for event in self.client.receive_data(self.server.take()):
                self._hear(event)

    def _serve(self, said: bytes) -> None:
        for event in self.server.receive(said, 0.0):
            match event:
                case Opened():
                    self.metadata[event.stream] = event.request.metadata.get("x-one", "")
                case Data():
                    self.server.message(event.stream, event.data)
                    self.server.credit(event.stream, len(event.data))
                case Ended():
                    self.server.end(event.stream, Status.OK)

    def _hear(self, event: h2.events.Event) -> None:
        match event:
            case h2.events.DataReceived(stream_id=stream, data=data, flow_controlled_length=size):
                self.heard[stream] = self.heard.get(stream, b"") + (data or b"")
                self.client.acknowledge_received_data(size, stream)
            case (
                h2.events.TrailersReceived(stream_id=stream, headers=pairs)
                | h2.events.ResponseReceived(stream_id=stream, headers=pairs)
            ):
                found = {str(name): str(value) for name, value in pairs}
                if "grpc-status" in found:
                    self.statuses[stream] = found["grpc-status"]
            case h2.events.ConnectionTerminated() | h2.events.StreamReset():
                raise AssertionError(event)


SIZES = st.one_of(st.integers(0, 100), st.integers(0, 40_000))
CUTS = st.sampled_from([1, 10, 1_000, 100_000])
CALLS = st.lists(st.tuples(st.lists(SIZES, max_size=3), st.text("abc", max_size=50), st.booleans()), min_size=1, max_size=3)


@LONG
@given(calls=CALLS, cut=CUTS, first_window=st.integers(100, 100_000), padding=st.integers(0, 255))
def test_conversations_of_the_h2_library_are_understood(
    calls: list[tuple[list[int], str, bool]], cut: int, first_window: int, padding: int
) -> None:
    echo = Echo(first_window)
    wanted = {}
    for number, (sizes, word, trailers) in enumerate(calls):
        stream = 1 + 2 * number
        wanted[stream] = sizes
        echo.client.send_headers(stream, [*REQUEST, ("x-one", word)], priority_weight=7, priority_depends_on=0)
        for size in sizes:
            _send(echo, stream, size, padding, cut)
        if trailers:
            echo.client.send_headers(stream, [("x-two", word)], end_stream=True)
        else:
            echo.client.end_stream(stream)
        echo.client.ping(b"12345678")
        echo.exchange(cut)
    assert {stream: sum(sizes) for stream, sizes in wanted.items()} == {
        stream: _echoed(echo.heard.get(stream, b"")) for stream in wanted
    }
    assert echo.statuses == dict.fromkeys(wanted, "0")
    assert echo.metadata == {1 + 2 * number: word for number, (_, word, _) in enumerate(calls)}
    assert echo.server.streams == 0


def _send(echo: Echo, stream: int, size: int, padding: int, cut: int) -> None:
    """As many frames as the windows allow at once; the rest when they are wider."""
    while size:
        room = min(echo.client.local_flow_control_window(stream), echo.client.max_outbound_frame_size) - padding - 1
        if room <= 0:
            echo.exchange(cut)
            continue
        echo.client.send_data(stream, b"x" * min(size, room), pad_length=padding)
        size -= min(size, room)


def _echoed(heard: bytes) -> int:
    """Bytes of the messages, each a frame's data."""
    total, at = 0, 0
    while at < len(heard):
        size = int.from_bytes(heard[at + 1 : at + 5], "big")
        assert heard[at + 5 : at + 5 + size] == b"x" * size
        total, at = total + size, at + 5 + size
    return total


def test_a_conversation_is_the_same_however_it_is_cut() -> None:
    said = headers(1) + frames.frame(Kind.DATA, Flag.END_STREAM, 1, b"\0\0\0\0\1x") + headers(3)
    whole = Peer().say(said)
    for cut in range(1, len(said)):
        peer = Peer()
        assert [*peer.say(said[:cut]), *peer.say(said[cut:])] == whole
