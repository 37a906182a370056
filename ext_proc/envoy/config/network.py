"""Addresses, clusters and TLS as Envoy messages."""

from datetime import timedelta

from headrace.ext_proc.envoy.config.failover import nobody, outlier_detection, strictly_by_priority
from headrace.ext_proc.envoy.config.filters import attempt_filters
from headrace.ext_proc.envoy.config.names import CLUSTER, CONCURRENCY
from headrace.ext_proc.envoy.config.picker import picked_server
from headrace.ext_proc.envoy.config.settings import Address, GatewaySettings, Upstream
from headrace.ext_proc.envoy.config.stubs import (
    PackedAny,
    cluster,
    core,
    endpoint,
    http,
    previous_hosts,
    route,
    tls,
    value_matcher,
)

HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


def socket(address: Address) -> core.Address:
    if address.path is not None:
        return core.Address(pipe=core.Pipe(path=address.path))
    return core.Address(socket_address=core.SocketAddress(address=str(address.host), port_value=address.port))


def service_cluster(service: tuple[Address, ...]) -> cluster.Cluster:
    """The cluster of the service: HTTP/2, one endpoint per worker, health by gRPC."""
    return cluster.Cluster(
        name=CLUSTER,
        type=_discovery(service),
        dns_lookup_family=_family(service),
        load_assignment=_assignment(CLUSTER, service),
        connect_timeout=timedelta(seconds=1),
        lb_policy=cluster.ClusterLbPolicy.LEAST_REQUEST,
        circuit_breakers=_open_breakers(),
        typed_extension_protocol_options={HTTP_OPTIONS: PackedAny.pack(_http2())},
        health_checks=[_grpc_health()],
    )


def upstream_cluster(upstream: Upstream, settings: GatewaySettings) -> cluster.Cluster:
    """The cluster of one model server, called by the upstream's name."""
    at = upstream.addresses
    assignment = _assignment(upstream.name, at, upstream.authority)
    options = _http_of(upstream)
    if settings.attempts:
        options.http_filters = attempt_filters(upstream.name, settings.message_timeout)
    found = cluster.Cluster(
        name=upstream.name,
        type=_discovery(at),
        dns_lookup_family=_family(at),
        load_assignment=assignment,
        connect_timeout=timedelta(seconds=5),
        lb_policy=cluster.ClusterLbPolicy.LEAST_REQUEST,
        circuit_breakers=_open_breakers(),
        typed_extension_protocol_options={HTTP_OPTIONS: PackedAny.pack(options)},
        upstream_connection_options=cluster.UpstreamConnectionOptions(tcp_keepalive=core.TcpKeepalive(keepalive_time=60)),
        transport_socket=_tls(upstream, settings.ca_file) if upstream.tls else None,
    )
    if upstream.servers:
        found.load_balancing_policy = picked_server()
        found.lb_policy = cluster.ClusterLbPolicy.ROUND_ROBIN  # the default, which the other setting replaces
    if settings.failover is not None:
        found.outlier_detection = outlier_detection(settings.failover)
        assignment.endpoints.append(nobody())
        assignment.policy = strictly_by_priority()
    return found


def _discovery(addresses: tuple[Address, ...]) -> cluster.ClusterDiscoveryType:
    return cluster.ClusterDiscoveryType.STRICT_DNS if _named(addresses) else cluster.ClusterDiscoveryType.STATIC


def _family(addresses: tuple[Address, ...]) -> cluster.ClusterDnsLookupFamily:
    return cluster.ClusterDnsLookupFamily.V4_PREFERRED if _named(addresses) else cluster.ClusterDnsLookupFamily.AUTO


def _named(addresses: tuple[Address, ...]) -> bool:
    return any(address.is_name for address in addresses)


def _assignment(name: str, addresses: tuple[Address, ...], hostname: str = "") -> endpoint.ClusterLoadAssignment:
    """hostname: what requests to these endpoints name as their host."""
    found = [endpoint.LbEndpoint(endpoint=endpoint.Endpoint(address=socket(address), hostname=hostname)) for address in addresses]
    return endpoint.ClusterLoadAssignment(cluster_name=name, endpoints=[endpoint.LocalityLbEndpoints(lb_endpoints=found)])


def _open_breakers() -> cluster.CircuitBreakers:
    limits = cluster.CircuitBreakersThresholds(
        max_connections=CONCURRENCY, max_pending_requests=CONCURRENCY, max_requests=CONCURRENCY
    )
    return cluster.CircuitBreakers(thresholds=[limits])


def _http2() -> http.HttpProtocolOptions:
    options = core.Http2ProtocolOptions(max_concurrent_streams=CONCURRENCY)
    return http.HttpProtocolOptions(
        explicit_http_config=http.HttpProtocolOptionsExplicitHttpConfig(http2_protocol_options=options),
        retry_policy=another_worker(),
    )


def another_worker() -> route.RetryPolicy:
    """A worker that died is away for a second: the next one takes its share. Only what no worker has seen is sent again.

    LEAST_REQUEST prefers the dead one, which has no requests; so the choice is repeated until it falls on another. Envoy's own
    pause between tries, a second, would keep callers waiting where no worker is left.

    A policy of the cluster's is read once. One of a gRPC service's is copied and read anew for each stream, and so for each
    request.
    """
    predicate = PackedAny.pack(previous_hosts.PreviousHostsPredicate())
    elsewhere = route.RetryPolicyRetryHostPredicate(name="envoy.retry_host_predicates.previous_hosts", typed_config=predicate)
    return route.RetryPolicy(
        retry_back_off=route.RetryPolicyRetryBackOff(
            base_interval=timedelta(milliseconds=10), max_interval=timedelta(milliseconds=100)
        ),
        num_retries=3,
        retry_on="connect-failure,refused-stream",
        retry_host_predicate=[elsewhere],
        host_selection_retry_max_attempts=100,
    )


def _http_of(upstream: Upstream) -> http.HttpProtocolOptions:
    if upstream.tls:
        return http.HttpProtocolOptions(
            auto_config=http.HttpProtocolOptionsAutoHttpConfig(
                http_protocol_options=core.Http1ProtocolOptions(), http2_protocol_options=core.Http2ProtocolOptions()
            )
        )
    return http.HttpProtocolOptions(
        common_http_protocol_options=core.HttpProtocolOptions(idle_timeout=timedelta(seconds=4)),
        explicit_http_config=http.HttpProtocolOptionsExplicitHttpConfig(http_protocol_options=core.Http1ProtocolOptions()),
    )


def _grpc_health() -> core.HealthCheck:
    second = timedelta(seconds=1)
    return core.HealthCheck(
        timeout=timedelta(seconds=2),
        interval=second,
        no_traffic_interval=second,
        unhealthy_threshold=2,
        healthy_threshold=1,
        grpc_health_check=core.HealthCheckGrpcHealthCheck(),
    )


def _tls(upstream: Upstream, ca_file: str) -> core.TransportSocket:
    """Verified by the system's authorities, for the host of the URL."""
    host = str(upstream.address.host)
    name = tls.SubjectAltNameMatcher(
        san_type=tls.SubjectAltNameMatcherSanType.DNS if upstream.address.is_name else tls.SubjectAltNameMatcherSanType.IP_ADDRESS,
        matcher=value_matcher.StringMatcher(exact=host),
    )
    trusted = tls.CertificateValidationContext(trusted_ca=core.DataSource(filename=ca_file), match_typed_subject_alt_names=[name])
    context = tls.UpstreamTlsContext(
        sni=host if upstream.address.is_name else "",
        common_tls_context=tls.CommonTlsContext(validation_context=trusted),
    )
    return core.TransportSocket(name="envoy.transport_sockets.tls", typed_config=PackedAny.pack(context))
