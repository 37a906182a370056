"""Tokens of a streamed answer by its size."""

import pytest

from headrace.ext_proc.core import stream_sizes
from headrace.ext_proc.core.stream_sizes import SEEN, Kind, StreamSizes

CHAT = Kind("llama", "chat", "gpu")


def learned(*streams: tuple[int, int]) -> StreamSizes:
    sizes = StreamSizes()
    for size, tokens in streams:
        sizes.learn(CHAT, size, tokens)
    return sizes


def test_the_size_says_nothing_until_enough_streams_are_known() -> None:
    sizes = learned(*[(200, 1)] * (SEEN - 1))
    assert sizes.tokens(CHAT, 200) is None
    sizes.learn(CHAT, 200, 1)
    assert [sizes.tokens(CHAT, size) for size in (1, 200, 201, 2000)] == [1, 1, 2, 10]


def test_every_model_upstream_and_api_has_its_own_size() -> None:
    sizes = learned(*[(200, 1)] * SEEN)
    for other in (CHAT._replace(model="qwen"), CHAT._replace(endpoint="messages"), CHAT._replace(upstream="cpu")):
        assert sizes.tokens(other, 200) is None


def test_what_came_last_counts_most() -> None:
    sizes = learned(*[(100, 1)] * 50, *[(300, 1)] * 100)
    assert sizes.tokens(CHAT, 30_000) == pytest.approx(100, abs=1)


def test_streams_of_no_tokens_leave_a_size_that_can_be_divided_by() -> None:
    assert learned(*[(500, 0)] * SEEN).tokens(CHAT, 10_000) == 0


def test_names_do_not_gather_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_sizes, "KINDS", 2)
    sizes = learned(*[(200, 1)] * SEEN)
    for number in range(2):
        sizes.learn(CHAT._replace(model=f"m{number}"), 200, 1)
    assert sizes.tokens(CHAT, 200) is None
