"""The plugin's messages and Python's protobuf: what one writes the other reads, and what one refuses to read so does the other.

HEADRACE_LONG=1 runs 10,000 random messages of each kind.
"""

import os
from typing import Any

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.ext_proc.envoy.pb import headrace_ext_proc_pb2 as pb
from tests.apisix.nginx import missing
from tests.apisix.oracle import Reading, Response, by_lua, by_python
from tests.apisix.probe import Probe
from tests.apisix.raw_peer import to_body
from tests.envoy.messages import messages

pytestmark = pytest.mark.skipif(bool(missing()), reason=missing())

CASES = settings(max_examples=10_000 if os.environ.get("HEADRACE_LONG") else 100, deadline=None)
RESPONSES = messages(pb.ProcessingResponse).map(lambda response: response.SerializeToString())
KNOWN_FIELDS = range(1, 12)


def varint(value: int, padding: int = 0) -> bytes:
    """padding: bytes that it is longer than it need be."""
    out = bytearray()
    while value >= 128 or padding:
        if value < 128:
            padding -= 1
        out.append(value % 128 | 128)
        value //= 128
    return bytes([*out, value])


def _tagged(field: int, kind: int, value: bytes, padding: int = 0) -> bytes:
    return varint(field << 3 | kind, padding) + value


VARINTS = st.builds(varint, st.integers(0, 2**64 - 1) | st.integers(0, 9), st.integers(0, 4))
FIELDS = st.sampled_from(KNOWN_FIELDS) | st.integers(0, 2**30)
TAG_PADDING = st.sampled_from([0, 0, 0, 1, 5])
SCALARS = (
    st.builds(_tagged, FIELDS, st.just(0), VARINTS | st.binary(min_size=9, max_size=11), TAG_PADDING)
    | st.builds(_tagged, FIELDS, st.just(1), st.binary(min_size=8, max_size=8))
    | st.builds(_tagged, FIELDS, st.just(5), st.binary(min_size=4, max_size=4))
    | st.builds(_tagged, FIELDS, st.sampled_from([3, 4, 6, 7]), st.binary(max_size=2))
)


def _inside(parts: list[bytes], field: int, padding: int) -> bytes:
    payload = b"".join(parts)
    return _tagged(field, 2, varint(len(payload), padding) + payload)


def _grouped(parts: list[bytes], field: int) -> bytes:
    return _tagged(field, 3, b"".join(parts)) + _tagged(field, 4, b"")


PADDING = st.sampled_from([0, 0, 0, 0, 1, 4, 5])
TREES = st.recursive(
    SCALARS | st.builds(_inside, st.lists(st.binary(max_size=5), max_size=1), FIELDS, PADDING),
    lambda inner: (
        st.builds(_inside, st.lists(inner, max_size=3), FIELDS, PADDING) | st.builds(_grouped, st.lists(inner, max_size=2), FIELDS)
    ),
    max_leaves=8,
)
"""Fields of any number, written in any way, one inside the other."""


def agree(probe: Probe, data: bytes) -> bool:
    """Whether both take it for a message; fails where only one does, or where they read something else in it."""
    said = probe.call("decode", data)
    try:
        expected = by_python(Response.FromString(data))
    except DecodeError:
        assert said is None
        return False
    assert said is not None
    assert by_lua(said) == expected
    return True


@CASES
@given(RESPONSES)
def test_what_python_writes_is_read(probe: Probe, data: bytes) -> None:
    assert agree(probe, data)


@CASES
@given(RESPONSES, TREES)
def test_unknown_fields_are_passed_over_and_broken_ones_are_refused(probe: Probe, data: bytes, extra: bytes) -> None:
    agree(probe, data + extra)
    agree(probe, extra + data)


@CASES
@given(st.lists(TREES, max_size=4).map(b"".join))
def test_any_fields_are_read_alike(probe: Probe, data: bytes) -> None:
    agree(probe, data)


@CASES
@given(RESPONSES, st.data())
def test_flipped_and_missing_bytes_are_read_alike(probe: Probe, data: bytes, draw: st.DataObject) -> None:
    at = draw.draw(st.integers(0, len(data)))
    broken = data[:at] + draw.draw(st.binary(max_size=3)) + data[at + draw.draw(st.integers(0, 3)) :]
    agree(probe, broken)


@CASES
@given(st.binary(max_size=40))
def test_any_bytes_are_read_alike(probe: Probe, data: bytes) -> None:
    agree(probe, data)


def test_a_message_cut_off_anywhere_is_read_as_python_reads_it(probe: Probe) -> None:
    whole = to_body("stream").SerializeToString()
    found = [agree(probe, whole[:at]) for at in range(len(whole) + 1)]
    assert 1 < sum(found) < len(found) / 2


@pytest.mark.parametrize(("number", "code"), [(2**32 + 429, 429), (2**64 - 1, 2**32 - 1), (2**53 + 1, 1), (2**31, 2**31)])
def test_a_long_number_is_its_lowest_32_bits(number: int, code: int, probe: Probe) -> None:
    data = _inside([_inside([_tagged(1, 0, varint(number))], 1, 0)], 7, 0)
    assert agree(probe, data)
    assert by_lua(probe.call("decode", data)).status == code


def test_groups_in_groups_end_somewhere(probe: Probe) -> None:
    deep = _tagged(15, 3, b"") * 100_000
    assert probe.call("decode", deep) is None
    assert not agree(probe, deep)


def test_structs_in_structs_cost_nothing(probe: Probe) -> None:
    """Nested beyond any stack: only the two levels that are ours are read."""
    value = b""
    for _ in range(5_000):
        value = _inside([_inside([_inside([b"k"], 1, 0), _inside([value], 2, 0)], 1, 0)], 5, 0)
    data = _inside([_inside([_inside([b"headrace"], 1, 0), _inside([value], 2, 0)], 1, 0)], 8, 0)
    assert agree(probe, data)


@CASES
@given(st.floats())
def test_numbers_are_exact(probe: Probe, number: float) -> None:
    response = pb.ProcessingResponse()
    response.dynamic_metadata.fields["headrace"].struct_value.fields["n"].number_value = number
    assert agree(probe, response.SerializeToString())


# --- what the plugin writes ---------------------------------------------------------------------------------------------------

NAMES = st.text("abcdefghijklmnopqrstuvwxyz-:", min_size=1, max_size=20).map(str.encode)
PAIRS = st.lists(st.tuples(NAMES, st.binary(max_size=300)), max_size=5)


def http_headers(pairs: Any, ends: bool) -> pb.HttpHeaders:
    headers = [pb.HeaderValue(key=name, raw_value=value) for name, value in pairs]
    return pb.HttpHeaders(headers=pb.HeaderMap(headers=headers), end_of_stream=ends)


@CASES
@given(PAIRS, st.booleans())
def test_headers_are_written_as_python_reads_them(probe: Probe, pairs: Any, ends: bool) -> None:
    said = pb.ProcessingRequest.FromString(probe.call("request_headers", pairs, ends))
    modes = pb.ProtocolConfiguration(request_body_mode=pb.BUFFERED)
    assert said == pb.ProcessingRequest(request_headers=http_headers(pairs, ends), protocol_config=modes)
    said = pb.ProcessingRequest.FromString(probe.call("response_headers", pairs, ends))
    assert said == pb.ProcessingRequest(response_headers=http_headers(pairs, ends))


@CASES
@given(st.binary(max_size=300), st.booleans())
def test_bodies_are_written_as_python_reads_them(probe: Probe, body: bytes, ends: bool) -> None:
    said = pb.ProcessingRequest.FromString(probe.call("request_body", body))
    assert said == pb.ProcessingRequest(request_body=pb.HttpBody(body=body, end_of_stream=True))
    said = pb.ProcessingRequest.FromString(probe.call("response_body", body, ends))
    assert said == pb.ProcessingRequest(response_body=pb.HttpBody(body=body, end_of_stream=ends))


def test_a_body_of_megabytes_is_written_whole(probe: Probe) -> None:
    body = os.urandom(3_000_001)
    assert pb.ProcessingRequest.FromString(probe.call("request_body", body)).request_body.body == body


# --- golden bytes: the protocol does not change under us ----------------------------------------------------------------------

CHECKED = (
    "1a180a1612140a120a100a09782d636865636b65641a03796573"
    "42360a340a08686561647261636512282a260a100a0865786368616e676512041a0265310a120a06736574746c6512081a0673747265616d"
)
REFUSED = "3a330a0308ad0312160a140a100a0b72657472792d61667465721a013718021a026e6f2a106275646765742e657868617573746564"
EXCHANGE = {"exchange": b"e1", "settle": b"stream"}
GOLDEN = {
    "edits and metadata": (CHECKED, Reading("request_body", ([(b"x-checked", b"yes")], []), metadata=EXCHANGE)),
    "a refusal": (REFUSED, Reading("refusal", ([(b"retry-after", b"7")], []), b"no", status=429, reason=b"budget.exhausted")),
    "a stream asked for": ("12004a0c080110011802200428023001", Reading("response_headers", ([], []), mode=4)),
    "the last of a stream": ("220c0a0a1a081a060a0268691001", Reading("response_body", ([], []), b"hi", ends=True)),
}


@pytest.mark.parametrize("name", GOLDEN)
def test_golden_answers_are_read(name: str, probe: Probe) -> None:
    data, expected = GOLDEN[name]
    assert by_lua(probe.call("decode", bytes.fromhex(data))) == expected


def test_golden_messages_are_written(probe: Probe) -> None:
    assert probe.call("request_headers", [[b"a", b"b"]], True).hex() == "120c0a080a060a01611a016218015a020802"
    assert probe.call("request_body", b"{}").hex() == "22060a027b7d1001"
    assert probe.call("response_headers", [[b":status", b"200"]], False).hex() == "1a120a100a0e0a073a7374617475731a03323030"
    assert probe.call("response_body", b"hi", True).hex() == "2a060a0268691001"
