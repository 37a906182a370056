"""Envoy's messages become events, answers become Envoy's messages."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.ext_proc.core.errors import ProtocolError
from headrace.ext_proc.core.events import (
    Deliver,
    Hold,
    Proceed,
    Reading,
    Refuse,
    RequestBody,
    RequestHeaders,
    ResponseBody,
    ResponseHeaders,
    ResponseTrailers,
)
from headrace.ext_proc.core.headers import Headers
from headrace.ext_proc.core.verdict import Edits
from headrace.ext_proc.envoy.codec import ATTRIBUTES, CHUNK, CODE_DETAILS, decode, encode
from headrace.ext_proc.envoy.pb import headrace_ext_proc_pb2 as pb

HEADERS = RequestHeaders(Headers())
ANSWER = ResponseHeaders(200, Headers())
BODY = RequestBody(b"{}")
CHUNK_EVENT = ResponseBody(b"x")


def headers_of(*pairs: tuple[str, bytes]) -> pb.HttpHeaders:
    return pb.HttpHeaders(headers=pb.HeaderMap(headers=[pb.HeaderValue(key=name, raw_value=value) for name, value in pairs]))


def one(event: Any, answer: Any, reading: Reading | None = None) -> pb.ProcessingResponse:
    (data,) = encode(event, answer, reading)
    return pb.ProcessingResponse.FromString(data)


def several(event: Any, answer: Any, reading: Reading | None = None) -> list[pb.ProcessingResponse]:
    return [pb.ProcessingResponse.FromString(data) for data in encode(event, answer, reading)]


# --- decoding -----------------------------------------------------------------------------------------------------------------


def test_request_headers_keep_every_value_and_bytes_that_are_no_utf8() -> None:
    sent = headers_of((":method", b"POST"), ("a", b"1"), ("a", b"2"), ("b", b"\xff"))
    sent.end_of_stream = True
    event = decode(pb.ProcessingRequest(request_headers=sent))
    assert isinstance(event, RequestHeaders)
    assert event.headers.pairs == ((":method", "POST"), ("a", "1"), ("a", "2"), ("b", "\udcff"))
    assert event.end


def test_who_the_gateway_vouches_for_is_in_its_metadata_alone() -> None:
    sent = pb.ProcessingRequest(request_headers=headers_of(("headrace.identity", b"eve")))
    sent.metadata_context.filter_metadata["another"].update({"user": "eve"})
    event = decode(sent)
    assert isinstance(event, RequestHeaders)
    assert event.vouched is None
    sent.metadata_context.filter_metadata["headrace.identity"].update({"user": "ada", "team": "research"})
    event = decode(sent)
    assert isinstance(event, RequestHeaders)
    assert event.vouched == {"user": "ada", "team": "research"}


def test_a_value_in_the_old_place_is_read() -> None:
    sent = pb.HttpHeaders(headers=pb.HeaderMap(headers=[pb.HeaderValue(key="a", value="1")]))
    event = decode(pb.ProcessingRequest(request_headers=sent))
    assert isinstance(event, RequestHeaders)
    assert event.headers.get("a") == "1"


def test_a_request_body() -> None:
    assert decode(pb.ProcessingRequest(request_body=pb.HttpBody(body=b"x", end_of_stream=True))) == RequestBody(b"x")


def test_response_trailers() -> None:
    assert decode(pb.ProcessingRequest(response_trailers=pb.HttpTrailers())) == ResponseTrailers()


@pytest.mark.parametrize("reading", [None, *Reading])
@pytest.mark.parametrize("end", [True, False])
def test_a_chunk_of_the_answer_ends_it_where_it_was_read_whole(reading: Reading | None, end: bool) -> None:
    message = pb.ProcessingRequest(response_body=pb.HttpBody(body=b"x", end_of_stream=end))
    assert decode(message, reading) == ResponseBody(b"x", end or reading is Reading.WHOLE)


@pytest.mark.parametrize(
    ("details", "from_upstream"), [("via_upstream", True), ("request_payload_too_large", False), ("", False), (None, True)]
)
def test_the_proxys_own_replies_are_told_from_an_upstreams(details: str | None, from_upstream: bool) -> None:
    message = pb.ProcessingRequest(response_headers=headers_of((":status", b"413")))
    if details is not None:
        message.attributes[ATTRIBUTES].fields[CODE_DETAILS].string_value = details
    event = decode(message)
    assert isinstance(event, ResponseHeaders)
    assert (event.status, event.from_upstream) == (413, from_upstream)


def test_other_attributes_do_not_make_an_answer_the_proxys() -> None:
    message = pb.ProcessingRequest(response_headers=headers_of((":status", b"200")))
    message.attributes[ATTRIBUTES].fields["request.id"].string_value = "7"
    event = decode(message)
    assert isinstance(event, ResponseHeaders)
    assert event.from_upstream


@pytest.mark.parametrize("status", [None, b"", b"abc", b"-1", b"2e2"])
def test_response_headers_without_a_status_are_an_error(status: bytes | None) -> None:
    pairs = [] if status is None else [(":status", status)]
    with pytest.raises(ProtocolError, match="status"):
        decode(pb.ProcessingRequest(response_headers=headers_of(*pairs)))


@pytest.mark.parametrize(
    ("message", "words"),
    [(pb.ProcessingRequest(), "an empty message"), (pb.ProcessingRequest(request_trailers=pb.HttpTrailers()), "request_trailers")],
)
def test_what_was_not_asked_for_is_an_error(message: pb.ProcessingRequest, words: str) -> None:
    with pytest.raises(ProtocolError, match=words):
        decode(message)


# --- answers to headers and bodies --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("event", "part"), [(HEADERS, "request_headers"), (BODY, "request_body"), (ANSWER, "response_headers")])
def test_nothing_to_change_is_an_empty_answer_of_the_right_kind(event: Any, part: str) -> None:
    message = one(event, Proceed())
    assert message.WhichOneof("response") == part
    assert getattr(message, part).response == pb.CommonResponse()
    assert not message.HasField("dynamic_metadata")
    assert not message.HasField("mode_override")


def test_header_edits_overwrite_and_travel_as_bytes() -> None:
    edits = Edits(set_headers={"a": "1", "b": "\udcff"}, remove_headers=("c",), reroute=True)
    common = one(HEADERS, Proceed(edits)).request_headers.response
    options = common.header_mutation.set_headers
    assert [(option.header.key, option.header.raw_value, option.header.value) for option in options] == [
        ("a", b"1", ""),
        ("b", b"\xff", ""),
    ]
    assert {option.append_action for option in options} == {pb.OVERWRITE_IF_EXISTS_OR_ADD}
    assert list(common.header_mutation.remove_headers) == ["c"]
    assert common.clear_route_cache


def test_a_new_body_brings_its_length() -> None:
    common = one(BODY, Proceed(body=b"{}x")).request_body.response
    assert common.body_mutation.body == b"{}x"
    (option,) = common.header_mutation.set_headers
    assert (option.header.key, option.header.raw_value) == ("content-length", b"3")
    assert not common.clear_route_cache


def test_metadata_goes_into_our_namespace_as_strings_and_numbers() -> None:
    message = one(BODY, Proceed(metadata={"exchange": "e1", "stream": 1, "cost": 0.5}))
    assert dict(message.dynamic_metadata.fields["headrace"].struct_value.items()) == {"exchange": "e1", "stream": 1.0, "cost": 0.5}


@pytest.mark.parametrize(
    ("reading", "body", "trailers"), [(Reading.STREAM, pb.FULL_DUPLEX_STREAMED, pb.SEND), (Reading.WHOLE, pb.BUFFERED, pb.SKIP)]
)
def test_an_answer_is_asked_for_by_overriding_the_mode(
    reading: Reading, body: pb.BodySendMode, trailers: pb.HeaderSendMode
) -> None:
    mode = one(ANSWER, Proceed(read=reading)).mode_override
    assert (mode.response_body_mode, mode.response_trailer_mode, mode.response_header_mode) == (body, trailers, pb.SEND)
    assert (mode.request_body_mode, mode.request_header_mode, mode.request_trailer_mode) == (pb.BUFFERED, pb.SEND, pb.SKIP)


def test_a_refusal_is_an_immediate_response() -> None:
    reply = one(BODY, Refuse(429, {"retry-after": "1"}, b"no", "budget.exhausted")).immediate_response
    assert (reply.status.code, reply.body, reply.details) == (429, b"no", "budget.exhausted")
    (option,) = reply.headers.set_headers
    assert (option.header.key, option.header.raw_value) == ("retry-after", b"1")
    assert option.append_action == pb.OVERWRITE_IF_EXISTS_OR_ADD


def test_what_is_held_is_no_message() -> None:
    assert several(CHUNK_EVENT, Hold()) == []


# --- the answer ---------------------------------------------------------------------------------------------------------------


def streamed(message: pb.ProcessingResponse) -> tuple[bytes, bool]:
    assert message.WhichOneof("response") == "response_body"
    part = message.response_body.response.body_mutation.streamed_response
    return part.body, part.end_of_stream


@given(st.integers(0, 3 * CHUNK + 1), st.booleans())
def test_a_stream_goes_out_in_chunks_that_envoy_takes_and_ends_once(size: int, end: bool) -> None:
    data = bytes(size)
    parts = [streamed(message) for message in several(CHUNK_EVENT, Deliver(data, end), Reading.STREAM)]
    assert b"".join(body for body, _ in parts) == data
    assert all(len(body) <= CHUNK for body, _ in parts)
    assert [last for _, last in parts] == [False] * (len(parts) - 1) + [end] if parts else not end and not data


def test_the_end_of_a_stream_without_data_is_a_message() -> None:
    assert [streamed(message) for message in several(CHUNK_EVENT, Deliver(b"", end=True), Reading.STREAM)] == [(b"", True)]


@pytest.mark.parametrize("answer", [Deliver(b""), Deliver(bytes(3 * CHUNK)), Deliver(b"x", end=True)])
def test_a_gateway_that_waits_for_an_answer_to_every_chunk_gets_one(answer: Deliver) -> None:
    (data,) = encode(CHUNK_EVENT, answer, Reading.STREAM, every_chunk=True)
    assert streamed(pb.ProcessingResponse.FromString(data)) == (answer.data, answer.end)


def test_trailers_follow_what_was_held_back() -> None:
    body, tail = several(ResponseTrailers(), Deliver(b"x", trailers=True), Reading.STREAM)
    assert streamed(body) == (b"x", False)
    assert tail.WhichOneof("response") == "response_trailers"


def test_a_whole_answer_that_did_not_change_is_not_sent_back() -> None:
    message = one(CHUNK_EVENT, Deliver(b"x", end=True, headers=Edits(), same=True), Reading.WHOLE)
    assert message.WhichOneof("response") == "response_body"
    common = message.response_body.response
    assert not common.HasField("body_mutation")
    assert list(common.header_mutation.set_headers) == list(common.header_mutation.remove_headers) == []


def test_a_whole_answer_is_replaced_with_its_length() -> None:
    edits = Edits(set_headers={"a": "1"}, remove_headers=("b",))
    common = one(CHUNK_EVENT, Deliver(b"xyz", end=True, headers=edits), Reading.WHOLE).response_body.response
    assert common.body_mutation.body == b"xyz"
    sent = {option.header.key: option.header.raw_value for option in common.header_mutation.set_headers}
    assert sent == {"a": b"1", "content-length": b"3"}
    assert list(common.header_mutation.remove_headers) == ["b"]


def test_a_whole_answer_without_header_edits() -> None:
    common = one(CHUNK_EVENT, Deliver(b"", end=True), Reading.WHOLE).response_body.response
    assert common.body_mutation.body == b""
    assert common.body_mutation.WhichOneof("mutation") == "body"
