"""The plugin's header blocks and the `hpack` library's: each reads what the other writes, with and without Huffman code."""

from typing import Any

import pytest
from hpack import Decoder, Encoder, HPACKError
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.apisix.nginx import missing
from tests.apisix.probe import Probe

pytestmark = pytest.mark.skipif(bool(missing()), reason=missing())

CASES = settings(max_examples=150, deadline=None)
STATIC = [(b":status", b"200"), (b"content-type", b"application/grpc"), (b"accept-encoding", b"gzip, deflate"), (b"server", b"")]
FIELDS = st.sampled_from(STATIC) | st.tuples(st.binary(min_size=1, max_size=20), st.binary(max_size=300))
PAIRS = st.lists(FIELDS, max_size=8)


def read_by_python(block: bytes) -> Any:
    """The last value of each name, as the plugin has it; None for what is no block, or needs a table."""
    decoder = Decoder()
    decoder.max_allowed_table_size = decoder.header_table_size = 0
    try:
        return {bytes(name).decode("latin-1"): bytes(value) for name, value in decoder.decode(block, raw=True)}
    except HPACKError:
        return None


def read_by_lua(probe: Probe, block: bytes) -> Any:
    found = probe.call("hpack_decode", block)
    return {} if found == [] else found


@CASES
@given(PAIRS, st.booleans(), st.booleans())
def test_what_python_writes_is_read(probe: Probe, pairs: Any, huffman: bool, sensitive: bool) -> None:
    encoder = Encoder()
    encoder.header_table_size = 0
    block = encoder.encode([(name, value, sensitive) for name, value in pairs], huffman=huffman)
    assert read_by_lua(probe, block) == {name.decode("latin-1"): value for name, value in pairs}


@CASES
@given(PAIRS)
def test_what_the_plugin_writes_is_read(probe: Probe, pairs: Any) -> None:
    block = probe.call("hpack_encode", pairs)
    assert list(Decoder().decode(block, raw=True)) == pairs


@CASES
@given(PAIRS, st.booleans(), st.data())
def test_a_broken_block_is_refused_or_read_as_python_reads_it(probe: Probe, pairs: Any, huffman: bool, draw: st.DataObject) -> None:
    block = Encoder().encode([(name, value, True) for name, value in pairs], huffman=huffman)
    at = draw.draw(st.integers(0, len(block)))
    broken = block[:at] + draw.draw(st.binary(max_size=3)) + block[at + draw.draw(st.integers(0, 3)) :]
    found = read_by_lua(probe, broken)
    assert found is None or found == read_by_python(broken)


@CASES
@given(st.binary(max_size=30))
def test_any_bytes_are_refused_or_read_as_python_reads_them(probe: Probe, block: bytes) -> None:
    found = read_by_lua(probe, block)
    assert found is None or found == read_by_python(block)


def test_every_byte_has_its_huffman_code(probe: Probe) -> None:
    value = bytes(range(256)) * 2
    assert read_by_lua(probe, Encoder().encode([(b"x", value, True)], huffman=True)) == {"x": value}
