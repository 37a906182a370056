"""The external-processing filter, and what stands at the door before a route is chosen."""

from datetime import timedelta

from headrace.ext_proc.envoy.config.names import (
    CAPABILITIES,
    CAPABILITIES_HEADER,
    CLUSTER,
    EARLY_HEADERS,
    EXT_PROC_FILTER,
    NAMESPACE,
    OWN_HEADER_PREFIX,
)
from headrace.ext_proc.envoy.config.stubs import (
    PackedAny,
    core,
    early_mutation,
    ext_proc,
    hcm,
    mutation,
    previous_hosts,
    router,
    value_matcher,
)

SEND, SKIP = ext_proc.ProcessingModeHeaderSendMode.SEND, ext_proc.ProcessingModeHeaderSendMode.SKIP
BUFFERED = ext_proc.ProcessingModeBodySendMode.BUFFERED


def to_service(*metadata: core.HeaderValue) -> core.GrpcService:
    """The service's cluster, with what to tell it at the start of each gRPC stream."""
    return core.GrpcService(envoy_grpc=core.GrpcServiceEnvoyGrpc(cluster_name=CLUSTER), initial_metadata=list(metadata))


def processing_filter(message_timeout: float) -> hcm.HttpFilter:
    """ext_proc: the request whole; of the answer only what the service asks for. `message_timeout` in seconds per message."""
    service = to_service(core.HeaderValue(key=CAPABILITIES_HEADER, value=",".join(CAPABILITIES)))
    service.retry_policy = another_worker()
    processor = ext_proc.ExternalProcessor(
        grpc_service=service,
        processing_mode=request_only(),
        allow_mode_override=True,
        allowed_override_modes=[with_stream(), with_whole_answer()],
        message_timeout=timedelta(seconds=message_timeout),
        response_attributes=["response.code_details"],
        metadata_options=ext_proc.MetadataOptions(
            receiving_namespaces=ext_proc.MetadataOptionsMetadataNamespaces(untyped=[NAMESPACE])
        ),
        mutation_rules=mutation.HeaderMutationRules(disallow_is_error=True),
        stat_prefix=CLUSTER,
    )
    return hcm.HttpFilter(name=EXT_PROC_FILTER, typed_config=PackedAny.pack(processor))


def another_worker() -> core.RetryPolicy:
    """A worker that died is away for a second: the next one takes its share. Only what no worker has seen is sent again.

    LEAST_REQUEST prefers the dead one, which has no requests; so the choice is repeated until it falls on another. Envoy's own
    pause between tries, a second, would keep callers waiting where no worker is left.
    """
    predicate = PackedAny.pack(previous_hosts.PreviousHostsPredicate())
    elsewhere = core.RetryPolicyRetryHostPredicate(name="envoy.retry_host_predicates.previous_hosts", typed_config=predicate)
    return core.RetryPolicy(
        retry_back_off=core.BackoffStrategy(base_interval=timedelta(milliseconds=10), max_interval=timedelta(milliseconds=100)),
        num_retries=3,
        retry_on="connect-failure,refused-stream",
        retry_host_predicate=[elsewhere],
        host_selection_retry_max_attempts=100,
    )


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
    """Drops every header of ours that a client sent, before Envoy chooses a route by it."""
    ours = mutation.HeaderMutationRemoveOnMatch(key_matcher=value_matcher.StringMatcher(prefix=OWN_HEADER_PREFIX, ignore_case=True))
    removal = early_mutation.HeaderMutation(mutations=[mutation.HeaderMutation(remove_on_match=ours)])
    return core.TypedExtensionConfig(name=EARLY_HEADERS, typed_config=PackedAny.pack(removal))
