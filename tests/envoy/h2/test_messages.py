"""gRPC messages in DATA frames, wherever those end."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.ext_proc.envoy.h2.messages import MessageReader, framed
from headrace.ext_proc.envoy.transport import MAX_MESSAGE, Aborted, Status


@given(messages=st.lists(st.binary(max_size=40), max_size=6), cuts=st.lists(st.integers(0, 200), max_size=12))
def test_messages_are_the_same_however_they_are_cut(messages: list[bytes], cuts: list[int]) -> None:
    whole = b"".join(map(framed, messages))
    at = [0, *sorted(min(cut, len(whole)) for cut in cuts), len(whole)]
    reader, found = MessageReader(), []
    for start, end in pairwise(at):
        found += reader.feed(whole[start:end])
    assert found == messages
    assert reader.held == 0


def test_half_a_message_is_held() -> None:
    reader = MessageReader()
    assert reader.feed(framed(b"abc")[:-1]) == []
    assert reader.held == 7
    assert reader.feed(b"c" + framed(b"")) == [b"abc", b""]


@pytest.mark.parametrize("cut", [5, 6, 8])
def test_a_compressed_message_is_refused(cut: int) -> None:
    with pytest.raises(Aborted, match="compressed") as refused:
        MessageReader().feed(b"\x01\0\0\0\3abc"[:cut])
    assert refused.value.status is Status.UNIMPLEMENTED


def test_a_message_that_is_too_long_is_refused_before_it_has_come() -> None:
    reader = MessageReader()
    assert reader.feed(b"\0" + MAX_MESSAGE.to_bytes(4, "big")) == []
    with pytest.raises(Aborted, match="bytes") as refused:
        MessageReader().feed(b"\0" + (MAX_MESSAGE + 1).to_bytes(4, "big"))
    assert refused.value.status is Status.RESOURCE_EXHAUSTED
