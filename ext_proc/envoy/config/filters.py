"""The external-processing filter, and what stands at the door before a route is chosen."""

from datetime import timedelta

from headrace.ext_proc.envoy.config.names import (
    ANSWER_SHARE,
    ANSWER_WITHIN,
    ATTEMPT_FILTER,
    CANDIDATES_NAMESPACE,
    CAPABILITIES,
    CAPABILITIES_HEADER,
    CLIENT_RETRY_HEADERS,
    CLUSTER,
    EARLY_HEADERS,
    EXT_PROC_FILTER,
    FAILOVER,
    MESSAGE_TIMEOUT,
    NAMESPACE,
    OWN_HEADER_PREFIX,
    PICKED_NAMESPACE,
    RETRY_HEADERS,
    SUBSET_NAMESPACE,
    UPSTREAM_HEADER,
    UsageReader,
)
from headrace.ext_proc.envoy.config.stubs import (
    PackedAny,
    core,
    early_mutation,
    ext_proc,
    hcm,
    mutation,
    router,
    upstream_codec,
    value_matcher,
)

SEND, SKIP = ext_proc.ProcessingModeHeaderSendMode.SEND, ext_proc.ProcessingModeHeaderSendMode.SKIP
BUFFERED = ext_proc.ProcessingModeBodySendMode.BUFFERED


def to_service(*metadata: core.HeaderValue) -> core.GrpcService:
    """The service's cluster, with what to tell it at the start of each gRPC stream."""
    return core.GrpcService(envoy_grpc=core.GrpcServiceEnvoyGrpc(cluster_name=CLUSTER), initial_metadata=list(metadata))


def processing_filter(
    message_timeout: float, *, usage: UsageReader = UsageReader.GATEWAY, candidates: bool = False, picks: bool = False
) -> hcm.HttpFilter:
    """ext_proc: the request whole; of the answer only what the service asks for. `message_timeout` in seconds per message."""
    words = (*CAPABILITIES[usage], *([FAILOVER] if candidates else []), *_patience(message_timeout))
    service = to_service(core.HeaderValue(key=CAPABILITIES_HEADER, value=",".join(words)))
    processor = ext_proc.ExternalProcessor(
        grpc_service=service,
        processing_mode=request_only(),
        allow_mode_override=True,
        allowed_override_modes=[with_stream(), with_whole_answer()],
        message_timeout=timedelta(seconds=message_timeout),
        response_attributes=["response.code_details", *(["xds.cluster_name"] if candidates else [])],
        metadata_options=_metadata(candidates=candidates, picks=picks),
        mutation_rules=_mutation_rules(candidates=candidates),
        stat_prefix=CLUSTER,
    )
    return hcm.HttpFilter(name=EXT_PROC_FILTER, typed_config=PackedAny.pack(processor))


def _patience(message_timeout: float) -> list[str]:
    """What the service has to know of a timeout that is not the usual one."""
    return [f"{ANSWER_WITHIN}{message_timeout * ANSWER_SHARE * 1000:.0f}"] if message_timeout != MESSAGE_TIMEOUT else []


def _metadata(*, candidates: bool, picks: bool) -> ext_proc.MetadataOptions:
    received = [NAMESPACE, *([CANDIDATES_NAMESPACE] if candidates else []), *([PICKED_NAMESPACE] if picks else [])]
    options = ext_proc.MetadataOptions(receiving_namespaces=ext_proc.MetadataOptionsMetadataNamespaces(untyped=received))
    if picks:
        sent = [SUBSET_NAMESPACE, PICKED_NAMESPACE]
        options.forwarding_namespaces = ext_proc.MetadataOptionsMetadataNamespaces(untyped=sent)
    return options


def _mutation_rules(*, candidates: bool) -> mutation.HeaderMutationRules:
    rules = mutation.HeaderMutationRules(disallow_is_error=True)
    if candidates:
        rules.allow_expression = value_matcher.RegexMatcher(regex=RETRY_HEADERS)
    return rules


def attempt_filters(upstream: str, message_timeout: float) -> list[hcm.HttpFilter]:
    """An upstream's own filters: the service is called for every attempt. It asks for bodies where it changes them."""
    service = to_service(core.HeaderValue(key=UPSTREAM_HEADER, value=upstream))
    processor = ext_proc.ExternalProcessor(
        grpc_service=service,
        processing_mode=ext_proc.ProcessingMode(request_header_mode=SEND, response_header_mode=SKIP),
        allow_mode_override=True,
        message_timeout=timedelta(seconds=message_timeout),
        metadata_options=ext_proc.MetadataOptions(
            forwarding_namespaces=ext_proc.MetadataOptionsMetadataNamespaces(untyped=[NAMESPACE])
        ),
        mutation_rules=mutation.HeaderMutationRules(disallow_is_error=True),
        stat_prefix=ATTEMPT_FILTER,
    )
    codec = hcm.HttpFilter(name="envoy.filters.http.upstream_codec", typed_config=PackedAny.pack(upstream_codec.UpstreamCodec()))
    return [hcm.HttpFilter(name=ATTEMPT_FILTER, typed_config=PackedAny.pack(processor)), codec]


def request_only() -> ext_proc.ProcessingMode:
    """What is configured. Under a configured FULL_DUPLEX_STREAMED, Envoy would send the answer until it has seen the service close
    the gRPC stream, and what it sent by then is lost to the client: a 200 without a body, whenever the upstream is quick. Headers
    that were sent by then are not lost.
    """
    return _mode(ext_proc.ProcessingModeBodySendMode.NONE, trailers=SKIP)


def with_stream() -> ext_proc.ProcessingMode:
    """What the service may ask for instead, in its answer to the response headers; Envoy ignores any other wish."""
    return _mode(ext_proc.ProcessingModeBodySendMode.FULL_DUPLEX_STREAMED, trailers=SEND)


def with_whole_answer() -> ext_proc.ProcessingMode:
    """The same for an answer that is no stream: Envoy holds headers and body until the service has seen both."""
    return _mode(BUFFERED, trailers=SKIP)


def _mode(
    answer: ext_proc.ProcessingModeBodySendMode, *, trailers: ext_proc.ProcessingModeHeaderSendMode
) -> ext_proc.ProcessingMode:
    return ext_proc.ProcessingMode(
        request_header_mode=SEND,
        request_body_mode=BUFFERED,
        request_trailer_mode=SKIP,
        response_header_mode=SEND,
        response_body_mode=answer,
        response_trailer_mode=trailers,
    )


def router_filter() -> hcm.HttpFilter:
    return hcm.HttpFilter(name="envoy.filters.http.router", typed_config=PackedAny.pack(router.Router(suppress_envoy_headers=True)))


def own_headers_removed() -> core.TypedExtensionConfig:
    """Drops every header of ours, and what Envoy's router obeys, that a client sent, before a route is chosen by it."""
    ours = mutation.HeaderMutationRemoveOnMatch(key_matcher=value_matcher.StringMatcher(prefix=OWN_HEADER_PREFIX, ignore_case=True))
    retries = value_matcher.StringMatcher(safe_regex=value_matcher.RegexMatcher(regex=CLIENT_RETRY_HEADERS))
    routers = mutation.HeaderMutationRemoveOnMatch(key_matcher=retries)
    removal = early_mutation.HeaderMutation(
        mutations=[mutation.HeaderMutation(remove_on_match=ours), mutation.HeaderMutation(remove_on_match=routers)]
    )
    return core.TypedExtensionConfig(name=EARLY_HEADERS, typed_config=PackedAny.pack(removal))
