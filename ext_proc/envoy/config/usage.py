"""Usage without seeing the answer: Envoy reads it from JSON and from events, and its access log carries it to the service."""

from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Final

from envoy_data_plane.envoy.config.accesslog.v3 import AccessLog, AccessLogFilter, MetadataFilter
from envoy_data_plane.envoy.config.core import v3 as core
from envoy_data_plane.envoy.extensions.access_loggers.grpc.v3 import CommonGrpcAccessLogConfig, HttpGrpcAccessLogConfig
from envoy_data_plane.envoy.extensions.content_parsers.json.v3 import JsonContentParser, JsonContentParserRuleConfig
from envoy_data_plane.envoy.extensions.filters.http.json_to_metadata import v3 as json_filter
from envoy_data_plane.envoy.extensions.filters.http.sse_to_metadata import v3 as sse_filter
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import HttpFilter
from envoy_data_plane.envoy.type.matcher.v3 import MetadataMatcher, MetadataMatcherPathSegment, ValueMatcher
from envoy_data_plane.google.protobuf import Any

from headrace.ext_proc.envoy.config.filters import to_service
from headrace.ext_proc.envoy.config.names import JSON_FILTER, LOG_NAME, MAX_EVENT, NAMESPACE, SSE_FILTER, USAGE_NAMESPACE

CHAT: Final[Mapping[str, str]] = {
    "prompt_tokens": "prompt_tokens",
    "completion_tokens": "completion_tokens",
    "prompt_tokens_details.cached_tokens": "cached_tokens",
    "completion_tokens_details.reasoning_tokens": "reasoning_tokens",
}
"""Path below a `usage` object → key of the usage namespace: OpenAI's chat, completions and embeddings."""

RESPONSES: Final[Mapping[str, str]] = {
    "input_tokens": "input_tokens",
    "output_tokens": "output_tokens",
    "input_tokens_details.cached_tokens": "cached_tokens",
    "output_tokens_details.reasoning_tokens": "reasoning_tokens",
}

MESSAGES: Final[Mapping[str, str]] = {
    "input_tokens": "input_tokens",
    "output_tokens": "output_tokens",
    "cache_read_input_tokens": "cache_read_input_tokens",
    "cache_creation_input_tokens": "cache_creation_input_tokens",
}
"""Anthropic's. Its cached tokens are counted beside `input_tokens`, OpenAI's within them: hence keys of their own."""

IN_ANSWER: Final = (("usage", {**CHAT, **RESPONSES, **MESSAGES}),)
IN_EVENTS: Final = (
    ("response.usage", RESPONSES),
    ("message.usage", MESSAGES),
    ("usage", {**CHAT, **MESSAGES}),
)
"""Path of the `usage` object → what to read from it. Anthropic's `message_delta` (`usage`) overwrites its `message_start`."""


def json_usage_filter() -> HttpFilter:
    """Reads `usage` of a whole JSON answer."""
    rules = json_filter.JsonToMetadataMatchRules(rules=list(_rules(IN_ANSWER)), allow_content_types=["application/json"])
    return HttpFilter(name=JSON_FILTER, typed_config=Any.pack(json_filter.JsonToMetadata(response_rules=rules)))


def sse_usage_filter() -> HttpFilter:
    """Reads `usage` of every event that has one; the last one stands."""
    parser = JsonContentParser(rules=[JsonContentParserRuleConfig(rule=rule) for rule in _rules(IN_EVENTS)])
    rules = sse_filter.SseToMetadataProcessingRules(
        content_parser=core.TypedExtensionConfig(name="envoy.content_parsers.json", typed_config=Any.pack(parser)),
        max_event_size=MAX_EVENT,
    )
    return HttpFilter(name=SSE_FILTER, typed_config=Any.pack(sse_filter.SseToMetadata(response_rules=rules)))


def _rules(places: Iterable[tuple[str, Mapping[str, str]]]) -> Iterable[json_filter.JsonToMetadataRule]:
    for place, members in places:
        for member, key in members.items():
            yield json_filter.JsonToMetadataRule(
                selectors=[json_filter.JsonToMetadataSelector(key=step) for step in f"{place}.{member}".split(".")],
                on_present=json_filter.JsonToMetadataKeyValuePair(metadata_namespace=USAGE_NAMESPACE, key=key),
            )


def access_log() -> AccessLog:
    """One entry to the service for every request it took part in, also when the client hung up."""
    common = CommonGrpcAccessLogConfig(
        log_name=LOG_NAME,
        grpc_service=to_service(),
        transport_api_version=core.ApiVersion.V3,
        buffer_flush_interval=timedelta(milliseconds=100),
    )
    return AccessLog(
        name="envoy.access_loggers.http_grpc",
        filter=AccessLogFilter(metadata_filter=_ours()),
        typed_config=Any.pack(HttpGrpcAccessLogConfig(common_config=common)),
    )


def _ours() -> MetadataFilter:
    matcher = MetadataMatcher(
        filter=NAMESPACE, path=[MetadataMatcherPathSegment(key="exchange")], value=ValueMatcher(present_match=True)
    )
    return MetadataFilter(matcher=matcher, match_if_key_not_found=False)
