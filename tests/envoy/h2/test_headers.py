"""Requests in header blocks: whole and in pieces, remembered and not, malformed and no gRPC at all."""

from itertools import pairwise

import pytest
from hpack import Encoder
from hypothesis import given
from hypothesis import strategies as st

from headrace.ext_proc.envoy.h2 import frames
from headrace.ext_proc.envoy.h2.answers import percent_encoded
from headrace.ext_proc.envoy.h2.errors import ConnectionFault, ErrorCode
from headrace.ext_proc.envoy.h2.events import Opened
from headrace.ext_proc.envoy.h2.frames import Flag, Kind
from headrace.ext_proc.envoy.h2.headers import CACHED, HeaderDecoder, checked
from headrace.ext_proc.envoy.h2.limits import CONTINUATIONS, HEADER_BLOCK
from headrace.ext_proc.envoy.transport import Status
from tests.envoy.h2.wire import REQUEST, Peer, block, code_of, headers

FIELDS = dict(REQUEST)


def request(**changed: str | None) -> list[tuple[str, str]]:
    """REQUEST with headers set instead, added, or (None) left out."""
    fields = FIELDS | {name.replace("_", "-"): value for name, value in changed.items()}
    return [(name, value) for name, value in fields.items() if value is not None]


def test_a_request_says_its_method_and_its_metadata() -> None:
    found = checked([*REQUEST, ("headrace-capabilities", "access-log"), ("twice", "a"), ("twice", "b")])
    assert (found.path, found.malformed, found.refused, found.timeout_s) == ("/a.B/C", "", 0, None)
    assert found.metadata["headrace-capabilities"] == "access-log"
    assert found.metadata["twice"] == "b"
    assert not any(name.startswith(":") for name in found.metadata)


MALFORMED = {
    "no method": [pair for pair in REQUEST if pair[0] != ":method"],
    "no scheme": [pair for pair in REQUEST if pair[0] != ":scheme"],
    "no path": [pair for pair in REQUEST if pair[0] != ":path"],
    "method twice": [(":method", "POST"), *REQUEST],
    "an answer's pseudo-header": [(":status", "200"), *REQUEST],
    "a pseudo-header after others": [*REQUEST[4:], *REQUEST[:4]],
    "capitals": [*REQUEST, ("X-Name", "x")],
    "a space": [*REQUEST, ("x name", "x")],
    "no name": [*REQUEST, ("", "x")],
    "a colon": [*REQUEST, ("x:y", "x")],
    "a line feed": [*REQUEST, ("x", "a\nb")],
    "a null": [*REQUEST, ("x", "a\0b")],
    "connection": [*REQUEST, ("connection", "close")],
    "chunked": [*REQUEST, ("transfer-encoding", "chunked")],
    "te": [*REQUEST, ("te", "gzip")],
}


@pytest.mark.parametrize("pairs", MALFORMED.values(), ids=MALFORMED.keys())
def test_a_malformed_request_is_reset(pairs: list[tuple[str, str]]) -> None:
    assert checked(pairs).malformed
    peer = Peer()
    assert not peer.say(frames.frame(Kind.HEADERS, Flag.END_HEADERS, 1, block(*pairs)))
    assert code_of(peer.heard[-1]) == ErrorCode.PROTOCOL_ERROR
    assert [type(event) for event in peer.say(headers(3))] == [Opened]


NO_GRPC = [
    (request(**{":method": "GET"}), "405"),
    (request(content_type="application/json"), "415"),
    (request(content_type="application/grpcweb"), "415"),
    (request(content_type=None), "415"),
    (request(grpc_timeout="soon"), "400"),
    (request(grpc_timeout="123456789S"), "400"),
]


@pytest.mark.parametrize(("pairs", "status"), NO_GRPC)
@pytest.mark.parametrize("flags", [Flag.END_HEADERS, Flag.END_HEADERS | Flag.END_STREAM])
def test_what_is_no_grpc_is_answered_in_http(pairs: list[tuple[str, str]], status: str, flags: int) -> None:
    peer = Peer()
    assert not peer.say(frames.frame(Kind.HEADERS, flags, 1, block(*pairs)))
    assert peer.read(peer.heard[0]) == {":status": status}
    assert peer.heard[0].flags & Flag.END_STREAM
    assert [frame.kind for frame in peer.heard[1:]] == ([] if flags & Flag.END_STREAM else [Kind.RST_STREAM])
    assert peer.connection.streams == 0


@pytest.mark.parametrize("kind", ["application/grpc", "application/grpc+proto", "application/grpc;charset=utf-8"])
def test_grpcs_content_types(kind: str) -> None:
    assert checked(request(content_type=kind)).refused == 0


DEADLINES = [("5S", 5), ("250m", 0.25), ("1M", 60), ("2H", 7200), ("100u", 1e-4), ("99999999n", 0.099999999)]


@pytest.mark.parametrize(("text", "seconds"), DEADLINES)
def test_a_deadline_is_read(text: str, seconds: float) -> None:
    assert checked(request(grpc_timeout=text)).timeout_s == pytest.approx(seconds)


@given(cuts=st.lists(st.integers(0, 200), max_size=CONTINUATIONS - 2), padding=st.integers(0, 255), priority=st.booleans())
def test_a_block_means_the_same_however_it_is_cut_and_padded(cuts: list[int], padding: int, priority: bool) -> None:
    whole = block(*REQUEST, ("x-one", "1" * 150))
    at = [0, *sorted(min(cut, len(whole)) for cut in cuts), len(whole)]
    first, *rest = [whole[start:end] for start, end in pairwise(at)]
    body = bytes((padding,)) + (b"\0\0\0\0\1" if priority else b"") + first + bytes(padding)
    flags = Flag.PADDED | (Flag.PRIORITY if priority else 0) | (0 if rest else Flag.END_HEADERS)
    ends = [*[0] * (len(rest) - 1), Flag.END_HEADERS]
    more = [frames.frame(Kind.CONTINUATION, end, 1, part) for end, part in zip(ends, rest, strict=False)]
    (event,) = Peer().say(frames.frame(Kind.HEADERS, flags, 1, body), *more)
    assert isinstance(event, Opened)
    assert event.request.metadata["x-one"] == "1" * 150


def test_with_a_dynamic_table_blocks_depend_on_those_before() -> None:
    """A peer may use the 4,096 bytes that are the default until it has heard that there are none."""
    encoder, peer = Encoder(), Peer()
    for stream in (1, 3, 5):
        said = frames.frame(Kind.HEADERS, Flag.END_HEADERS, stream, encoder.encode([*REQUEST, ("x-stream", f"{stream // 5}")]))
        (event,) = peer.say(said)
        assert isinstance(event, Opened)
        assert event.request.metadata["x-stream"] == f"{stream // 5}"
    peer.say(frames.SETTINGS_ACK)
    encoder.header_table_size = 0
    for stream in (7, 9, 11):
        (event,) = peer.say(frames.frame(Kind.HEADERS, Flag.END_HEADERS, stream, encoder.encode([*REQUEST, ("x", "y")])))
        assert isinstance(event, Opened)
        assert event.request.metadata["x"] == "y"


def test_a_peer_that_keeps_a_table_that_was_taken_away_is_cut_off() -> None:
    encoder, peer = Encoder(), Peer()
    peer.say(frames.SETTINGS_ACK, frames.frame(Kind.HEADERS, Flag.END_HEADERS, 1, encoder.encode(REQUEST)))
    assert peer.ended() == ErrorCode.COMPRESSION_ERROR


def without_table() -> HeaderDecoder:
    decoder = HeaderDecoder()
    decoder.forget_table()
    decoder.decode(b"\x20" + block(*REQUEST))
    return decoder


def test_without_a_table_a_block_is_decoded_once() -> None:
    decoder = without_table()
    assert decoder.decode(block(*REQUEST)) is decoder.decode(block(*REQUEST))
    assert decoder.decode(block(*REQUEST)) == checked(REQUEST)


def test_a_block_that_would_bring_the_table_back_is_never_remembered() -> None:
    decoder = HeaderDecoder()
    decoder.decode(b"\x20" + block(*REQUEST))
    grown = b"\x3f\xe1\x1f" + Encoder().encode(REQUEST)
    first = decoder.decode(grown)
    assert decoder.decode(b"\xc1" + block(*REQUEST)).malformed, "a reference to what the block before left in the table"
    assert decoder.decode(grown) == first


PAIRS = st.lists(
    st.tuples(st.text("abz-", min_size=1, max_size=300), st.text(st.characters(codec="latin-1"), max_size=300)), max_size=8
)


@given(pairs=PAIRS, huffman=st.booleans(), marks=st.lists(st.booleans(), min_size=8, max_size=8))
def test_fields_that_are_decoded_one_by_one_are_those_of_the_block(
    pairs: list[tuple[str, str]], huffman: bool, marks: list[bool]
) -> None:
    encoder, decoder = Encoder(), without_table()
    encoder.header_table_size = 0
    encoder.encode([])
    marked = [(name, value.encode("latin-1"), mark) for (name, value), mark in zip(pairs, marks, strict=False)]
    wanted = [*REQUEST, *pairs]
    for _ in range(2):  # the second time, every field is known
        decoder._seen.clear()
        assert decoder.decode(encoder.encode([*REQUEST, *marked], huffman=huffman)) == checked(wanted)


@given(
    block=st.one_of(
        st.binary(max_size=60), st.builds(lambda at, byte: _struck(at, byte), st.integers(0, 200), st.binary(max_size=2))
    )
)
def test_a_broken_block_is_as_broken_field_by_field(block: bytes) -> None:
    """The library alone, and the library behind the cut, say the same of any bytes."""
    assert outcome(without_table(), block, whole=False) == outcome(without_table(), block, whole=True)


def _struck(at: int, byte: bytes) -> bytes:
    whole = block(*REQUEST)
    return whole[:at] + byte + whole[at + len(byte) :]


def outcome(decoder: HeaderDecoder, block: bytes, *, whole: bool) -> object:
    try:
        return decoder._decoded(block) if whole else decoder._pairs(block)
    except ConnectionFault as fault:
        return fault.code


def test_a_header_list_is_bounded_field_by_field_too() -> None:
    decoder = without_table()
    field = block(("x", "y" * 1_000))
    for _ in range(2):
        with pytest.raises(ConnectionFault, match="headers over"):
            decoder.decode(field * 17)


def test_a_memory_of_blocks_is_bounded() -> None:
    decoder = without_table()
    for number in range(3 * CACHED):
        decoder.decode(block(*REQUEST, ("x", f"{number}")))
        assert max(len(decoder._seen), len(decoder._fields)) <= CACHED
    decoder.decode(block(*REQUEST, ("x", "y" * 4_000)))
    assert all(len(seen) < 4_000 for seen in (*decoder._seen, *decoder._fields))


BOMB = block(("x", "y" * 3_000)) * 5 + block(("x", "")) * 40
INDEXED_BOMB = b"\x40\x01x" + b"\x7f\xa1\x16" + b"y" * 2_976 + b"\xbe" * 4_000


@pytest.mark.parametrize("bomb", [BOMB, INDEXED_BOMB], ids=["large", "small and repeated"])
def test_headers_that_grow_too_large_end_the_connection(bomb: bytes) -> None:
    peer = Peer()
    peer.say(frames.frame(Kind.HEADERS, Flag.END_HEADERS, 1, bomb))
    assert peer.ended() == ErrorCode.ENHANCE_YOUR_CALM


ENDLESS = [[b"x" * 9_000] * (HEADER_BLOCK // 9_000 + 1), [b""] * CONTINUATIONS]


@pytest.mark.parametrize("parts", ENDLESS, ids=["long", "of empty frames"])
def test_an_endless_block_ends_the_connection(parts: list[bytes]) -> None:
    peer = Peer()
    peer.say(headers(1, flags=0), *[frames.frame(Kind.CONTINUATION, 0, 1, part) for part in parts])
    assert peer.ended() == ErrorCode.ENHANCE_YOUR_CALM


@pytest.mark.parametrize("broken", [b"\x80", b"\xff\xff\xff\xff\xff\xff", b"\x00\x05ab", b"\xfe", b"\x00\x81\xff\x00"])
def test_a_block_that_is_none_ends_the_connection(broken: bytes) -> None:
    peer = Peer()
    peer.say(frames.frame(Kind.HEADERS, Flag.END_HEADERS, 1, broken))
    assert peer.ended() == ErrorCode.COMPRESSION_ERROR


def test_our_first_block_says_that_we_keep_no_table() -> None:
    peer = Peer()
    peer.say(headers(1), headers(3))
    peer.connection.message(1, b"x")
    peer.connection.end(3, Status.OK)
    first, second = [frame.payload[0] for frame in peer.listen() if frame.kind == Kind.HEADERS]
    assert (first, second != first) == (0x20, True)


@pytest.mark.parametrize("status", Status)
@pytest.mark.parametrize("answered", [False, True])
def test_every_status_reaches_the_peer(status: Status, answered: bool) -> None:
    peer = Peer()
    peer.say(headers(1))
    if answered:
        peer.connection.message(1, b"x")
    peer.connection.end(1, status, "why: 100 %, ü")
    peer.listen()
    blocks = [peer.read(frame) for frame in peer.heard if frame.kind == Kind.HEADERS]
    assert {name: value for block in blocks for name, value in block.items()} == {
        ":status": "200",
        "content-type": "application/grpc",
        "grpc-status": str(int(status)),
        "grpc-message": "why: 100 %25, %C3%BC",
    }
    assert len(blocks) == 1 + answered


def test_a_status_text_is_cut_where_it_grows_too_long() -> None:
    assert len(percent_encoded("ü" * 10_000)) <= 1_024
    assert percent_encoded("a\r\nb") == b"a%0D%0Ab"
