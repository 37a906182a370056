"""The external-processing filter, and what stands at the door before a route is chosen."""

from datetime import timedelta

from envoy_data_plane.envoy.config.common.mutation_rules import v3 as mutation
from envoy_data_plane.envoy.config.core import v3 as core
from envoy_data_plane.envoy.extensions.filters.http.ext_proc import v3 as ext_proc
from envoy_data_plane.envoy.extensions.filters.http.router.v3 import Router
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import HttpFilter
from envoy_data_plane.envoy.extensions.http.early_header_mutation.header_mutation.v3 import HeaderMutation
from envoy_data_plane.envoy.type.matcher.v3 import StringMatcher
from envoy_data_plane.google.protobuf import Any

from headrace.ext_proc.envoy.config.names import (
    ACCESS_LOG_CAPABILITY,
    CAPABILITIES_HEADER,
    CLUSTER,
    EARLY_HEADERS,
    EXT_PROC_FILTER,
    NAMESPACE,
    OWN_HEADER_PREFIX,
)

SEND, SKIP = ext_proc.ProcessingModeHeaderSendMode.SEND, ext_proc.ProcessingModeHeaderSendMode.SKIP


def to_service(*metadata: core.HeaderValue) -> core.GrpcService:
    """Without a timeout, which would count for the whole gRPC stream and so cut long answers."""
    return core.GrpcService(envoy_grpc=core.GrpcServiceEnvoyGrpc(cluster_name=CLUSTER), initial_metadata=list(metadata))


def processing_filter(message_timeout: float) -> HttpFilter:
    """ext_proc: the request whole, the answer as it comes. `message_timeout` in seconds, for every request message."""
    processor = ext_proc.ExternalProcessor(
        grpc_service=to_service(core.HeaderValue(key=CAPABILITIES_HEADER, value=ACCESS_LOG_CAPABILITY)),
        processing_mode=_modes(),
        message_timeout=timedelta(seconds=message_timeout),
        response_attributes=["response.code_details"],
        metadata_options=ext_proc.MetadataOptions(
            receiving_namespaces=ext_proc.MetadataOptionsMetadataNamespaces(untyped=[NAMESPACE])
        ),
        mutation_rules=mutation.HeaderMutationRules(disallow_is_error=True),
        stat_prefix=CLUSTER,
    )
    return HttpFilter(name=EXT_PROC_FILTER, typed_config=Any.pack(processor))


def _modes() -> ext_proc.ProcessingMode:
    return ext_proc.ProcessingMode(
        request_header_mode=SEND,
        request_body_mode=ext_proc.ProcessingModeBodySendMode.BUFFERED,
        request_trailer_mode=SKIP,
        response_header_mode=SEND,
        response_body_mode=ext_proc.ProcessingModeBodySendMode.FULL_DUPLEX_STREAMED,
        response_trailer_mode=SEND,
    )


def router_filter() -> HttpFilter:
    return HttpFilter(name="envoy.filters.http.router", typed_config=Any.pack(Router(suppress_envoy_headers=True)))


def own_headers_removed() -> core.TypedExtensionConfig:
    """Drops every header of ours that a client sent, before Envoy chooses a route by it."""
    ours = mutation.HeaderMutationRemoveOnMatch(key_matcher=StringMatcher(prefix=OWN_HEADER_PREFIX, ignore_case=True))
    removal = HeaderMutation(mutations=[mutation.HeaderMutation(remove_on_match=ours)])
    return core.TypedExtensionConfig(name=EARLY_HEADERS, typed_config=Any.pack(removal))
