"""The gRPC access log, which carries metadata, usage and the way a request ended to the service."""

from datetime import timedelta

from headrace.ext_proc.envoy.config.filters import to_service
from headrace.ext_proc.envoy.config.names import LOG_NAME, NAMESPACE
from headrace.ext_proc.envoy.config.stubs import PackedAny, accesslog, core, grpc_log, value_matcher


def access_log() -> accesslog.AccessLog:
    """One entry to the service for every request it took part in, also when the client hung up."""
    common = grpc_log.CommonGrpcAccessLogConfig(
        log_name=LOG_NAME,
        grpc_service=to_service(),
        transport_api_version=core.ApiVersion.V3,
        buffer_flush_interval=timedelta(milliseconds=100),
    )
    return accesslog.AccessLog(
        name="envoy.access_loggers.http_grpc",
        filter=accesslog.AccessLogFilter(metadata_filter=_ours()),
        typed_config=PackedAny.pack(grpc_log.HttpGrpcAccessLogConfig(common_config=common)),
    )


def _ours() -> accesslog.MetadataFilter:
    exchange = value_matcher.MetadataMatcher(
        filter=NAMESPACE,
        path=[value_matcher.MetadataMatcherPathSegment(key="exchange")],
        value=value_matcher.ValueMatcher(present_match=True),
    )
    return accesslog.MetadataFilter(matcher=exchange, match_if_key_not_found=False)
