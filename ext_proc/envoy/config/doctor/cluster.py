"""Rules on the service's cluster."""

from collections.abc import Iterator, Mapping
from typing import Final

from headrace.ext_proc.envoy.config.doctor.rule import Rules, Wrong
from headrace.ext_proc.envoy.config.doctor.wiring import Wiring
from headrace.ext_proc.envoy.config.network import HTTP_OPTIONS
from headrace.ext_proc.envoy.config.nodes import Node, field, items, number

RULES = Rules()

ENOUGH: Final = 10_000
ENVOY_LIMIT: Final = 1024
ENVOY_STREAMS: Final = float("inf")
LIMITS: Final = ("max_requests", "max_pending_requests", "max_connections")


@RULES.rule("cluster", "run `headrace envoy patch`, which adds it")
def cluster(wiring: Wiring) -> Iterator[Wrong]:
    if wiring.cluster is None:
        what = f"the filter calls the cluster {wiring.cluster_name}, which this file does not define"
        yield Wrong(field(wiring.processor, "grpc_service"), "envoy_grpc", what)


@RULES.rule("http2", "set explicit_http_config: {http2_protocol_options: {}} in the cluster's HttpProtocolOptions")
def http2(wiring: Wiring) -> Iterator[Wrong]:
    if wiring.cluster is not None and _http2_options(wiring.cluster) is None:
        yield Wrong(wiring.cluster, "", "the service's cluster does not speak HTTP/2: no gRPC call succeeds")


@RULES.rule("circuit-breakers", "set max_requests, max_pending_requests and max_connections to 100000")
def circuit_breakers(wiring: Wiring) -> Iterator[Wrong]:
    if wiring.cluster is None:
        return
    breakers = field(wiring.cluster, "circuit_breakers")
    normal = next((one for one in items(breakers, "thresholds") if field(one, "priority") in (None, "DEFAULT", 0)), None)
    low = [f"{name} {found:g}" for name in LIMITS if (found := number(field(normal, name), ENVOY_LIMIT)) < ENOUGH]
    if low:
        what = f"the service's cluster takes few requests at once ({', '.join(low)}); one more ends as 500"
        yield Wrong(wiring.cluster, "circuit_breakers", what)


@RULES.rule("concurrent-streams", "set max_concurrent_streams: 100000")
def concurrent_streams(wiring: Wiring) -> Iterator[Wrong]:
    options = _http2_options(wiring.cluster)
    if (found := number(field(options, "max_concurrent_streams"), ENVOY_STREAMS)) < ENVOY_LIMIT:
        yield Wrong(options, "max_concurrent_streams", f"one connection to a worker carries only {found:g} requests at once")


def _http2_options(service_cluster: Node) -> Node:
    protocols = field(service_cluster, "typed_extension_protocol_options")
    options = protocols.get(HTTP_OPTIONS) if isinstance(protocols, Mapping) else None
    explicit = field(options, "explicit_http_config", "http2_protocol_options")
    return explicit if explicit is not None else field(service_cluster, "http2_protocol_options")
