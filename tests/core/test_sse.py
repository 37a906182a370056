"""Server-sent events come out the same wherever the bytes are cut, and keep their bytes."""

import random
import re
from collections.abc import Iterator, Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.ext_proc.core import sse
from headrace.ext_proc.core.errors import StreamError
from headrace.ext_proc.core.sse import SseEvent, SseParser

PIECES = [b"data: x", b"data:y", b"data", b": comment", b"event: e", b"id: 1", b"retry: 5", b"\xef\xbb\xbf", b"\xc3", b"\xa9", b""]
ENDS = [b"\n", b"\r\n", b"\r", b"\n\n", b"\r\n\r\n", b"\r\r", b"\n\r\n", b"\r\n\n", b"\r\n\r"]
STREAMS = st.lists(st.tuples(st.sampled_from(PIECES), st.sampled_from(ENDS)), max_size=12).map(
    lambda parts: b"".join(piece + end for piece, end in parts)
)


def cut(data: bytes, chunks: Sequence[bytes]) -> list[bytes]:
    parser = SseParser()
    events = [event for chunk in chunks for event in parser.feed(chunk)]
    return [event.raw for event in events + parser.finish()]


def reference(data: bytes) -> list[tuple[str | None, str]]:
    """Events of a whole stream as (name, data), by the algorithm of the HTML standard, read line by line."""
    text = data.decode("utf-8", "replace").removeprefix("﻿")
    found: list[tuple[str | None, str]] = []
    name: str | None = None
    lines: list[str] = []
    for line in re.split(r"\r\n|\n|\r", text):
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if line == "" and lines:
            found.append((name, "\n".join(lines)))
        if line == "":
            name, lines = None, []
        elif field == "data":
            lines.append(value)
        elif field == "event":
            name = value
    return found


@given(STREAMS, st.data())
def test_any_cut_gives_the_events_of_the_whole(data: bytes, cuts: st.DataObject) -> None:
    places = sorted(cuts.draw(st.lists(st.integers(0, len(data)), max_size=8)))
    edges = [0, *places, len(data)]
    chunks = [data[left:right] for left, right in pairwise(edges)]
    assert cut(data, chunks) == cut(data, [data])


@given(STREAMS)
def test_every_byte_comes_out_again_in_order(data: bytes) -> None:
    bytewise = cut(data, [bytes([byte]) for byte in data])
    assert b"".join(bytewise) == data
    assert bytewise == cut(data, [data])


@given(STREAMS)
def test_events_say_what_the_standards_algorithm_says(data: bytes) -> None:
    stream = data + b"\n\n"
    events = [SseEvent(raw) for raw in cut(stream, [stream])]
    assert [(event.name, event.data) for event in events if event.data is not None] == reference(stream)


def test_an_event_comes_out_with_its_last_byte() -> None:
    parser = SseParser()
    assert parser.feed(b"data: a\n") == []
    assert [event.raw for event in parser.feed(b"\n")] == [b"data: a\n\n"]
    assert parser.finish() == []


def test_a_carriage_return_at_the_end_of_a_chunk_waits_for_its_line_feed() -> None:
    parser = SseParser()
    assert parser.feed(b"data: a\r\n\r") == []
    assert [event.raw for event in parser.feed(b"\n")] == [b"data: a\r\n\r\n"]


def test_an_event_without_its_closing_line_comes_out_at_the_end() -> None:
    parser = SseParser()
    assert parser.feed(b"data: [DONE]") == []
    assert [event.raw for event in parser.finish()] == [b"data: [DONE]"]


def test_an_event_beyond_the_limit_is_an_error_and_one_at_it_is_not() -> None:
    parser = SseParser(limit=10)
    parser.feed(b"data: 1234")
    with pytest.raises(StreamError, match="larger than 10 bytes"):
        parser.feed(b"5")


class CountingPattern:
    """A pattern that counts the bytes it may look at."""

    def __init__(self, pattern: re.Pattern[bytes]) -> None:
        self.pattern, self.bytes = pattern, 0

    def search(self, buffer: bytearray, position: int) -> re.Match[bytes] | None:
        match = self.pattern.search(buffer, position)
        self.bytes += (match.end() if match else len(buffer)) - position
        return match


@pytest.mark.parametrize("chunk", [1, 7, 4096])
def test_the_work_grows_with_the_stream_and_not_with_its_square(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    counting = CountingPattern(sse._BLANK_LINE)
    monkeypatch.setattr(sse, "_BLANK_LINE", counting)
    data = b"data: " + b"x" * 100_000 + b"\n\n" + b"data: y\r\n\r\n" * 1000
    parser = SseParser()
    for at in range(0, len(data), chunk):
        parser.feed(data[at : at + chunk])
    assert counting.bytes <= len(data) + 8 * (len(data) // chunk + 1001)


FIELDS = {
    b"data: a\ndata: b\n\n": {"data": "a\nb"},
    b"data:a\r\ndata:  b\r\n\r\n": {"data": "a\n b"},
    b"data\n\n": {"data": ""},
    b": ping\n\n": {},
    b"event: x\nevent: y\ndata: 1\nid: 7\n\n": {"event": "y", "data": "1", "id": "7"},
    b"\xef\xbb\xbfdata: \xff\n\n": {"data": "�"},
}


@pytest.mark.parametrize("raw", FIELDS, ids=repr)
def test_fields(raw: bytes) -> None:
    assert SseEvent(raw).fields == FIELDS[raw]


def test_data_as_json() -> None:
    assert SseEvent(b'data: {"a":\ndata: 1}\n\n').json == {"a": 1}
    assert SseEvent(b'data: {"a": "\\ud83d"}\n\n').json == {"a": "\ud83d"}
    assert SseEvent(b"data: not json\n\n").json is None
    assert SseEvent(b"data: [DONE]\n\n").json is None
    assert SseEvent(b": ping\n\n").json is None


def test_the_end_mark() -> None:
    assert SseEvent(b"data: [DONE]\n\n").is_done
    assert SseEvent(b"data:[DONE] \r\n\r\n").is_done
    assert not SseEvent(b'data: {"a": "[DONE]"}\n\n').is_done
    assert not SseEvent(b": [DONE]\n\n").is_done


@given(st.text(), st.none() | st.just("message_stop"))
def test_an_event_of_ours_reads_back(data: str, name: str | None) -> None:
    event = SseEvent.of(data, name)
    expected = "\n".join(re.split(r"\r\n|\n|\r", data)).encode("utf-8", "replace").decode()
    assert [SseEvent(raw).data for raw in cut(event.raw, [event.raw])] == [expected]
    assert (event.name, event.data) == (name, expected)


def test_an_event_with_another_document_keeps_its_name() -> None:
    event = SseEvent(b"event: delta\nid: 4\ndata: {}\n\n").with_json({"text": "\ud83d"})
    assert (event.name, event.json) == ("delta", {"text": "\ud83d"})
    assert SseEvent(b"data: {}\n\n").with_json([1]).raw == b"data: [1]\n\n"


def test_a_representation_shows_no_text() -> None:
    assert repr(SseEvent(b"data: secret\n\n")) == "SseEvent(14 bytes)"


def chunks_of(data: bytes, seed: int) -> Iterator[bytes]:
    chance = random.Random(seed)
    while data:
        size = chance.randint(1, 40)
        yield data[:size]
        data = data[size:]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"], ids=["LF", "CRLF", "CR"])
def test_a_long_stream_in_every_line_ending(end: bytes, seed: int) -> None:
    data = b"".join(b"event: e" + end + b"data: %d" % index + end + end for index in range(500))
    events = [SseEvent(raw) for raw in cut(data, list(chunks_of(data, seed)))]
    assert [event.data for event in events] == [str(index) for index in range(500)]
