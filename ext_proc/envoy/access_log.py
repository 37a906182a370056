"""Envoy's gRPC access log, as the source of settlements: one entry per request, whoever hung up."""

from collections.abc import Callable, Mapping, Sequence

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import DecodeError
from google.protobuf.struct_pb2 import Struct, Value

from headrace.ext_proc.core.effects import Effect
from headrace.ext_proc.core.errors import ProtocolError
from headrace.ext_proc.core.settlement import READ, Finished, settlement
from headrace.ext_proc.core.stream_sizes import StreamSizes
from headrace.ext_proc.envoy.metadata import NAMESPACE
from headrace.ext_proc.envoy.pb import headrace_access_log_pb2 as pb

METHOD = "/envoy.service.accesslog.v3.AccessLogService/StreamAccessLogs"
USAGE_NAMESPACE = "headrace.usage"
"""Where our Envoy configuration has json_to_metadata and sse_to_metadata write the provider's usage."""

_TOO_LARGE = "response_payload_too_large"
"""Envoy's word for an answer that a filter of its own wanted to read whole, as `json_to_metadata` does for its usage."""

USAGE = (
    "prompt_tokens",
    "completion_tokens",
    "input_tokens",
    "output_tokens",
    "cached_tokens",
    "reasoning_tokens",
    "cache_read_input_tokens",
    "cache_creation_input_tokens",
    "cache_creation_1h_input_tokens",
    "service_tier",
)
"""What it may write there."""


class AccessLog:
    """Takes the log's messages. submit: takes the effects."""

    def __init__(self, submit: Callable[[Sequence[Effect]], None]) -> None:
        self._submit = submit
        self._sizes = StreamSizes()

    def receive(self, data: bytes) -> None:
        """Raises ProtocolError for bytes that are no access-log message."""
        try:
            message = pb.StreamAccessLogsMessage.FromString(data)
        except DecodeError as error:
            raise ProtocolError("the proxy sent bytes that are no StreamAccessLogsMessage") from error
        for entry in message.http_logs.log_entry:
            if effects := settlement(finished(entry), self._sizes):
                self._submit(effects)


def finished(entry: pb.HTTPAccessLogEntry) -> Finished:
    """The entry in the core's terms."""
    common, response = entry.common_properties, entry.response
    metadata = common.metadata.filter_metadata
    return Finished(
        metadata=_texts(metadata[NAMESPACE]) if NAMESPACE in metadata else {},
        usage=_values(metadata[USAGE_NAMESPACE]) if USAGE_NAMESPACE in metadata else {},
        status=response.response_code.value,
        reached_upstream=_reached_upstream(common, response.response_code.value),
        duration_ms=_milliseconds(common.duration),
        first_byte_ms=_first_byte(common),
        start_ms=common.start_time.seconds * 1000 + common.start_time.nanos // 1_000_000,
        upstream=common.upstream_cluster,
        answer_bytes=response.response_body_bytes,
        discarded=response.response_code_details == _TOO_LARGE,
    )


def _reached_upstream(common: pb.AccessLogCommon, status: int) -> bool:
    """Envoy had sent the first byte of the request to an upstream, and it was not the connection that failed.

    The flag of a connection that failed stays where another attempt followed; then only Envoy's own 503 says that all failed.
    """
    if not common.HasField("time_to_first_upstream_tx_byte"):
        return False
    return not common.response_flags.upstream_connection_failure or (_retried(common) and status != 503)


def _retried(common: pb.AccessLogCommon) -> bool:
    return common.upstream_request_attempt_count > 1


def _first_byte(common: pb.AccessLogCommon) -> float | None:
    if not common.HasField("time_to_first_downstream_tx_byte"):
        return None
    return _milliseconds(common.time_to_first_downstream_tx_byte)


def _milliseconds(duration: Duration) -> float:
    return duration.seconds * 1e3 + duration.nanos / 1e6


def _texts(struct: Struct) -> Mapping[str, str]:
    """What we told the gateway, as far as a settlement reads it. All of that is text; what is none is nothing of ours."""
    fields = struct.fields
    return {name: text for name in READ if name in fields and (text := fields[name].string_value)}


def _values(struct: Struct) -> Mapping[str, str | float | bool]:
    fields = struct.fields
    return {name: _scalar(fields[name]) for name in fields if name in USAGE}


def _scalar(value: Value) -> str | float | bool:
    """Strings, numbers and booleans; whatever else Envoy may find in an answer's `usage` is empty."""
    kind = value.WhichOneof("kind")
    return getattr(value, kind) if kind in ("string_value", "number_value", "bool_value") else ""
