"""Between Envoy's ext_proc messages and the core's events and answers. Bytes in, bytes out."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, assert_never

from google.protobuf import json_format
from google.protobuf.message import DecodeError

from headrace.ext_proc.core.candidates import FIRST_TOKEN_KEY, PICKED_KEY, candidates_of
from headrace.ext_proc.core.candidates import KEY as CANDIDATES_KEY
from headrace.ext_proc.core.errors import ProtocolError
from headrace.ext_proc.core.events import (
    Answer,
    Deliver,
    Event,
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
from headrace.ext_proc.core.verdict import NO_EDITS, Edits, Metadata
from headrace.ext_proc.envoy.metadata import put, written
from headrace.ext_proc.envoy.pb import headrace_ext_proc_pb2 as pb


def _mode(body: pb.BodySendMode, *, trailers: pb.HeaderSendMode) -> pb.ProcessingMode:
    return pb.ProcessingMode(
        request_header_mode=pb.SEND,
        response_header_mode=pb.SEND,
        request_body_mode=pb.BUFFERED,
        response_body_mode=body,
        request_trailer_mode=pb.SKIP,
        response_trailer_mode=trailers,
    )


CHUNK = 62_000
"""Bytes of one streamed body message. Envoy's own limit is 64 KiB of a message."""

MODES = {
    Reading.STREAM: _mode(pb.FULL_DUPLEX_STREAMED, trailers=pb.SEND),
    Reading.WHOLE: _mode(pb.BUFFERED, trailers=pb.SKIP),
}
"""What the answer to response headers overrides the configured mode with; the configuration must allow exactly these."""

CANDIDATES_NAMESPACE = "headrace.candidates"
"""Read by Envoy's priority_group cluster specifier: the groups, here of one upstream each, in the order of the attempts."""
PICKED_NAMESPACE = "envoy.lb"
PICKED = "x-gateway-destination-endpoint"
SERVED = "x-gateway-destination-endpoint-served"
SUBSET_NAMESPACE = "envoy.lb.subset_hint"
SUBSET = "x-gateway-destination-endpoint-subset"
"""Of the Endpoint Picker Protocol: https://github.com/kubernetes-sigs/gateway-api-inference-extension, proposal 004."""
RETRIES = "x-envoy-max-retries"
FIRST_BYTE = "x-envoy-upstream-rq-per-try-timeout-ms"
"""Counts until Envoy has begun to send the answer to the caller."""
IDENTITY_NAMESPACE = "headrace.identity"
"""Dynamic metadata in which a gateway that has authenticated the caller itself says who it is: parts of a principal."""
ATTRIBUTES = "envoy.filters.http.ext_proc"
CODE_DETAILS = "response.code_details"
VIA_UPSTREAM = "via_upstream"
ANSWERED_BY = "xds.cluster_name"
_OVERWRITE = pb.OVERWRITE_IF_EXISTS_OR_ADD


def message_of(data: bytes) -> pb.ProcessingRequest:
    """Raises ProtocolError for bytes that are none."""
    try:
        return pb.ProcessingRequest.FromString(data)
    except DecodeError as error:
        raise ProtocolError("the proxy sent bytes that are no ProcessingRequest") from error


def decode(message: pb.ProcessingRequest, reading: Reading | None = None) -> Event:
    """The event in a message. Raises ProtocolError for a message that carries none we asked for.

    reading: how the answer's body was asked for.
    """
    kind = message.WhichOneof("request")
    match kind:
        case "request_headers":
            return _request_headers(message)
        case "request_body":
            return RequestBody(message.request_body.body)
        case "response_headers":
            return _response_headers(message)
        case "response_body":
            end = message.response_body.end_of_stream or reading is Reading.WHOLE
            return ResponseBody(message.response_body.body, end)
        case "response_trailers":
            return ResponseTrailers()
    raise ProtocolError(f"the proxy sent {kind or 'an empty message'}, which Headrace does not ask for")


def _request_headers(message: pb.ProcessingRequest) -> RequestHeaders:
    head = message.request_headers
    headers, end = headers_of(head), head.end_of_stream
    if not message.HasField("metadata_context"):
        return RequestHeaders(headers, end)
    return RequestHeaders(headers, end, _told_by_gateway(message, SUBSET_NAMESPACE, SUBSET), _vouched(message))


def _vouched(message: pb.ProcessingRequest) -> Any:
    """None where the gateway does not say who calls."""
    spaces = message.metadata_context.filter_metadata
    return json_format.MessageToDict(spaces[IDENTITY_NAMESPACE]) if IDENTITY_NAMESPACE in spaces else None


def headers_of(message: pb.HttpHeaders) -> Headers:
    pairs = message.headers.headers
    return Headers([(pair.key, pair.raw_value.decode("utf-8", "surrogateescape") or pair.value) for pair in pairs])


def _response_headers(message: pb.ProcessingRequest) -> ResponseHeaders:
    headers = headers_of(message.response_headers)
    status = headers.get(":status")
    if not status.isdecimal():
        raise ProtocolError("the proxy sent response headers without a status")
    details = _attribute(message, CODE_DETAILS)
    # True also where the attribute was not asked for: then nothing tells a reply of the proxy's own apart.
    from_upstream = details in (None, VIA_UPSTREAM)
    upstream = _attribute(message, ANSWERED_BY) or ""
    served = _told_by_gateway(message, PICKED_NAMESPACE, SERVED)
    server = served if isinstance(served, str) else ""
    return ResponseHeaders(int(status), headers, message.response_headers.end_of_stream, from_upstream, upstream, server)


def _told_by_gateway(message: pb.ProcessingRequest, namespace: str, name: str) -> Any:
    """A value of the request's dynamic metadata that the gateway forwards; None where there is none."""
    spaces = message.metadata_context.filter_metadata
    if namespace not in spaces or name not in spaces[namespace].fields:
        return None
    return json_format.MessageToDict(spaces[namespace].fields[name])


def _attribute(message: pb.ProcessingRequest, name: str) -> str | None:
    """None where it was not asked for."""
    if ATTRIBUTES not in message.attributes:
        return None
    fields = message.attributes[ATTRIBUTES].fields
    return fields[name].string_value if name in fields else None


def encode(event: Event, answer: Answer, reading: Reading | None = None, *, every_chunk: bool = False) -> Sequence[bytes]:
    """The messages that carry `answer` to `event`, in order; none for an answer that is still to come.

    reading: how the answer's body was asked for before this answer. every_chunk: the gateway waits for one message, of whatever
    length, in answer to each chunk of a stream.
    """
    match answer:
        case Proceed():
            return [_proceed_written(event, answer)]
        case Refuse():
            return [immediate(answer).SerializeToString()]
        case Deliver() if reading is Reading.WHOLE:
            return [_whole(answer).SerializeToString()]
        case Deliver() if every_chunk:
            return [_streamed(answer.data, end=answer.end).SerializeToString()]
        case Deliver():
            return [message.SerializeToString() for message in _deliver(answer)]
        case Hold():
            return []
        case _:
            assert_never(answer)


def _proceed_written(event: Event, answer: Proceed) -> bytes:
    """What is alike in many answers is written once: protobuf's messages put together are their fields put together."""
    edits, metadata = answer.edits, answer.metadata
    if answer.read is not None or answer.body is not None or PICKED_KEY in metadata or CANDIDATES_KEY in metadata:
        return proceed(event, answer).SerializeToString()
    sets = tuple(edits.set_headers.items()) if edits.set_headers else ()
    common = _common_written(type(event), sets, tuple(edits.remove_headers), edits.reroute)
    return common + written(metadata) if metadata else common


@lru_cache(256)
def _common_written(event: type[Event], sets: Sequence[tuple[str, str]], removes: Sequence[str], reroute: bool) -> bytes:
    answer = Proceed(Edits(dict(sets), removes, reroute=reroute) if sets or removes or reroute else NO_EDITS)
    return proceed(_EXAMPLES[event], answer).SerializeToString()


_EXAMPLES: Mapping[type[Event], Event] = {
    RequestHeaders: RequestHeaders(Headers()),
    RequestBody: RequestBody(b""),
    ResponseHeaders: ResponseHeaders(0, Headers()),
}
"""Of each kind that is answered with Proceed: that is all its answer depends on."""


def proceed(event: Event, answer: Proceed) -> pb.ProcessingResponse:
    response = pb.ProcessingResponse()
    common = _common(event, response)
    edits = answer.edits
    if edits is not NO_EDITS:
        mutate(common.header_mutation, edits)
        common.clear_route_cache = edits.reroute
    if answer.body is not None:
        common.body_mutation.body = answer.body
        # Envoy answers 500 where the length of a buffered body changes without its header.
        common.header_mutation.set_headers.append(header_option("content-length", str(len(answer.body))))
    if answer.metadata:
        put(response.dynamic_metadata, answer.metadata)
        _order_attempts(response, common.header_mutation, answer.metadata)
        if isinstance(picked := answer.metadata.get(PICKED_KEY), str):
            response.dynamic_metadata.fields[PICKED_NAMESPACE].struct_value.fields[PICKED].string_value = picked
            common.header_mutation.set_headers.append(header_option(PICKED, picked))
    if answer.read is not None:
        response.mode_override.CopyFrom(MODES[answer.read])
    return response


def _common(event: Event, response: pb.ProcessingResponse) -> pb.CommonResponse:
    match event:
        case RequestHeaders():
            part: pb.HeadersResponse | pb.BodyResponse = response.request_headers
        case RequestBody():
            part = response.request_body
        case _:
            part = response.response_headers
    part.SetInParent()
    return part.response


def immediate(answer: Refuse) -> pb.ProcessingResponse:
    reply = pb.ImmediateResponse(status=pb.HttpStatus(code=answer.status), body=answer.body, details=answer.reason)
    reply.headers.set_headers.extend(_options(answer.headers))
    return pb.ProcessingResponse(immediate_response=reply)


def _whole(answer: Deliver) -> pb.ProcessingResponse:
    """Envoy has held the headers and the body; what is not named here stays."""
    message = pb.ProcessingResponse()
    message.response_body.SetInParent()
    common = message.response_body.response
    if answer.headers:
        mutate(common.header_mutation, answer.headers)
    if not answer.same:
        common.body_mutation.body = answer.data
        common.header_mutation.set_headers.append(header_option("content-length", str(len(answer.data))))
    return message


def _deliver(answer: Deliver) -> Iterator[pb.ProcessingResponse]:
    yield from streamed_body(answer.data, end=answer.end)
    if answer.trailers:
        tail = pb.ProcessingResponse()
        tail.response_trailers.SetInParent()
        yield tail


def streamed_body(data: bytes, *, end: bool, request: bool = False) -> Iterator[pb.ProcessingResponse]:
    """request: of the request's body; of the answer's otherwise."""
    chunks = [data[at : at + CHUNK] for at in range(0, len(data), CHUNK)] or ([b""] if end else [])
    for index, chunk in enumerate(chunks):
        yield _streamed(chunk, end=end and index == len(chunks) - 1, request=request)


def streamed_trailers(*, request: bool = False) -> pb.ProcessingResponse:
    message = pb.ProcessingResponse()
    (message.request_trailers if request else message.response_trailers).SetInParent()
    return message


def headers_answer() -> pb.ProcessingResponse:
    """The head of an answer, as it is."""
    message = pb.ProcessingResponse()
    message.response_headers.SetInParent()
    return message


def _streamed(data: bytes, *, end: bool, request: bool = False) -> pb.ProcessingResponse:
    message = pb.ProcessingResponse()
    streamed = (message.request_body if request else message.response_body).response.body_mutation.streamed_response
    streamed.SetInParent()
    streamed.body = data
    streamed.end_of_stream = end
    return message


def mutate(mutation: pb.HeaderMutation, edits: Edits) -> None:
    if edits.remove_headers:
        mutation.remove_headers.extend(edits.remove_headers)
    if edits.set_headers:
        mutation.set_headers.extend(_options(edits.set_headers))


def _options(headers: Mapping[str, str]) -> Iterable[pb.HeaderValueOption]:
    return [header_option(name, value) for name, value in headers.items()]


def header_option(name: str, value: str) -> pb.HeaderValueOption:
    raw = value.encode("utf-8", "surrogateescape")
    return pb.HeaderValueOption(header=pb.HeaderValue(key=name, raw_value=raw), append_action=_OVERWRITE)


def _order_attempts(response: pb.ProcessingResponse, mutation: pb.HeaderMutation, metadata: Metadata) -> None:
    """Tells Envoy whom to ask, one attempt each."""
    candidates = candidates_of(metadata)
    if not candidates:
        return
    groups = response.dynamic_metadata.fields[CANDIDATES_NAMESPACE].struct_value.fields["priority_groups"].list_value
    for candidate in candidates:
        groups.values.add().struct_value.fields["name"].string_value = candidate.upstream
    mutation.set_headers.append(header_option(RETRIES, str(len(candidates) - 1)))
    if FIRST_TOKEN_KEY in metadata:
        mutation.set_headers.append(header_option(FIRST_BYTE, str(metadata[FIRST_TOKEN_KEY])))
