"""The whole bootstrap: one listener, its connection manager, the upstreams, the service."""

from collections.abc import Iterator
from datetime import timedelta

from headrace.ext_proc.envoy.config.access_log import access_log
from headrace.ext_proc.envoy.config.filters import own_headers_removed, processing_filter, router_filter
from headrace.ext_proc.envoy.config.local_replies import local_replies
from headrace.ext_proc.envoy.config.names import UsageReader
from headrace.ext_proc.envoy.config.network import service_cluster, socket, upstream_cluster
from headrace.ext_proc.envoy.config.routes import route_table
from headrace.ext_proc.envoy.config.settings import GatewaySettings
from headrace.ext_proc.envoy.config.stubs import PackedAny, core, hcm, listener
from headrace.ext_proc.envoy.config.stubs import bootstrap as envoy
from headrace.ext_proc.envoy.config.tree import tree
from headrace.ext_proc.envoy.config.usage import json_usage_filter, sse_usage_filter
from headrace.ext_proc.envoy.config.yaml import render


def bootstrap(settings: GatewaySettings) -> envoy.Bootstrap:
    """Everything static, so that `envoy -c` alone runs it. Envoy's worker threads are its `--concurrency`, not in here."""
    clusters = [upstream_cluster(upstream, settings) for upstream in settings.upstreams]
    return envoy.Bootstrap(
        admin=envoy.Admin(address=socket(settings.admin)) if settings.admin else None,
        static_resources=envoy.BootstrapStaticResources(
            listeners=[_listener(settings)], clusters=[service_cluster(settings.service), *clusters]
        ),
    )


def _listener(settings: GatewaySettings) -> listener.Listener:
    manager = listener.Filter(name="envoy.filters.network.http_connection_manager", typed_config=PackedAny.pack(_manager(settings)))
    return listener.Listener(
        name="headrace",
        address=socket(settings.listen),
        filter_chains=[listener.FilterChain(filters=[manager])],
    )


def _manager(settings: GatewaySettings) -> hcm.HttpConnectionManager:
    return hcm.HttpConnectionManager(
        stat_prefix="headrace",
        use_remote_address=True,
        normalize_path=True,
        merge_slashes=True,
        path_with_escaped_slashes_action=hcm.HttpConnectionManagerPathWithEscapedSlashesAction.UNESCAPE_AND_FORWARD,
        common_http_protocol_options=core.HttpProtocolOptions(
            headers_with_underscores_action=core.HttpProtocolOptionsHeadersWithUnderscoresAction.DROP_HEADER
        ),
        request_headers_timeout=timedelta(seconds=10),
        request_timeout=timedelta(seconds=300),
        stream_idle_timeout=timedelta(seconds=settings.stream_idle_timeout),
        early_header_mutation_extensions=[own_headers_removed()],
        access_log=[access_log()] if settings.usage == UsageReader.GATEWAY else [],
        http_filters=list(_http_filters(settings)),
        local_reply_config=local_replies(),
        route_config=route_table(settings),
    )


def _http_filters(settings: GatewaySettings) -> Iterator[hcm.HttpFilter]:
    yield processing_filter(settings.message_timeout, usage=settings.usage, candidates=settings.candidates, picks=settings.picks)
    if settings.usage == UsageReader.GATEWAY:
        yield json_usage_filter()
        yield sse_usage_filter()
    yield router_filter()


HEADER = "Envoy with Headrace, rendered by `headrace envoy config`; run it with `envoy -c` (Envoy {} or newer)."


def render_bootstrap(settings: GatewaySettings, header: str = "") -> str:
    """The bootstrap as commented YAML. header: what is written above it, else which Envoys take it."""
    return render(tree(bootstrap(settings)), header or HEADER.format(oldest_envoy(settings)))


def oldest_envoy(settings: GatewaySettings) -> str:
    """From which on Envoy has all that is used: priority_group, sse_to_metadata, request_body_buffer_limit."""
    if settings.candidates:
        return "1.40"
    return "1.38" if settings.usage == UsageReader.GATEWAY else "1.37"
