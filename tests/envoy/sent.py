"""What Envoy sends, as messages; and what an answer to it says."""

from collections.abc import Mapping, Sequence
from typing import Any

from google.protobuf import json_format

from headrace.ext_proc.envoy.pb import headrace_ext_proc_pb2 as pb


def _head(pairs: Mapping[str, str], end: bool) -> pb.HttpHeaders:
    values = [pb.HeaderValue(key=name, raw_value=value.encode()) for name, value in pairs.items()]
    return pb.HttpHeaders(headers=pb.HeaderMap(headers=values), end_of_stream=end)


def request_head(headers: Mapping[str, str], told: Mapping[str, Any] | None = None, *, end: bool = False) -> pb.ProcessingRequest:
    """told: the dynamic metadata under `headrace`; None for a request that has none."""
    message = pb.ProcessingRequest(request_headers=_head({":method": "POST", **headers}, end))
    if told is not None:
        json_format.ParseDict(dict(told), message.metadata_context.filter_metadata["headrace"])
    return message


def request_body(data: bytes, *, end: bool = True) -> pb.ProcessingRequest:
    return pb.ProcessingRequest(request_body=pb.HttpBody(body=data, end_of_stream=end))


def answer_head(
    status: str = "200", content_type: str = "text/event-stream", *, end: bool = False, others: Mapping[str, str] | None = None
) -> pb.ProcessingRequest:
    return pb.ProcessingRequest(response_headers=_head({":status": status, "content-type": content_type, **(others or {})}, end))


def answer_body(data: bytes, *, end: bool = False) -> pb.ProcessingRequest:
    return pb.ProcessingRequest(response_body=pb.HttpBody(body=data, end_of_stream=end))


def request_tail() -> pb.ProcessingRequest:
    return pb.ProcessingRequest(request_trailers=pb.HttpTrailers())


def answer_tail() -> pb.ProcessingRequest:
    return pb.ProcessingRequest(response_trailers=pb.HttpTrailers())


def kinds(messages: Sequence[pb.ProcessingResponse]) -> list[str]:
    return [str(message.WhichOneof("response")) for message in messages]


def headers_set(mutation: pb.HeaderMutation) -> dict[str, str]:
    return {option.header.key: option.header.raw_value.decode() for option in mutation.set_headers}


def streamed(messages: Sequence[pb.ProcessingResponse], part: str = "response_body") -> tuple[bytes, bool]:
    """The bytes of the streamed bodies among the messages, and whether the last of them ends the stream."""
    bodies = [getattr(one, part).response.body_mutation.streamed_response for one in messages if one.WhichOneof("response") == part]
    return b"".join(one.body for one in bodies), bool(bodies) and bodies[-1].end_of_stream
