"""Where HTTP is handled in a configuration: connection managers, their listeners and their filters."""

from collections.abc import Iterator
from dataclasses import dataclass

from headrace.ext_proc.envoy.config.names import CLUSTER
from headrace.ext_proc.envoy.config.nodes import Node, field, is_a, items, type_of, walk


@dataclass(frozen=True)
class Manager:
    """One HTTP connection manager (`config` is its typed_config) and the listener around it."""

    listener: Node
    config: Node

    @property
    def listener_name(self) -> str:
        return str(field(self.listener, "name") or "without a name")


def listeners(root: Node) -> Iterator[Node]:
    """Every listener: of a bootstrap, of a file of resources, or of an admin interface's config_dump."""
    return (node for node in walk(root) if items(node, "filter_chains") or field(node, "default_filter_chain"))


def managers(root: Node) -> Iterator[Manager]:
    for listener in listeners(root):
        for chain in (*items(listener, "filter_chains"), field(listener, "default_filter_chain")):
            for network_filter in items(chain, "filters"):
                config = field(network_filter, "typed_config")
                if is_a(config, "HttpConnectionManager"):
                    yield Manager(listener, config)


def clusters(root: Node) -> Iterator[Node]:
    """Every cluster, wherever it is listed."""
    for node in walk(root):
        if key_is_cluster(node):
            yield node


def key_is_cluster(node: Node) -> bool:
    """A cluster has no type of its own in a bootstrap; a name together with one of these is what no other message has."""
    return bool(field(node, "name")) and any(
        field(node, key) is not None for key in ("load_assignment", "eds_cluster_config", "lb_policy", "connect_timeout")
    )


def unwrapped(http_filter: Node) -> Node:
    """The typed_config of an HTTP filter, also of one that is wrapped in an ExtensionWithMatcher."""
    config = field(http_filter, "typed_config")
    if is_a(config, "ExtensionWithMatcher"):
        return field(config, "extension_config", "typed_config")
    return config


def filter_kind(http_filter: Node) -> str:
    """What the filter is, by the package of its type: `jwt_authn`, `ext_proc`, `router`, …; else by the end of its name."""
    words = type_of(unwrapped(http_filter)).split(".")
    return words[-3] if len(words) > 3 else str(field(http_filter, "name") or "").rpartition(".")[2]


def calls_service(config: Node, cluster: str = CLUSTER) -> bool:
    """Whether an ext_proc filter's, or a gRPC access log's, configuration names the service's cluster."""
    service = field(config, "grpc_service") or field(config, "common_config", "grpc_service")
    return bool(field(service, "envoy_grpc", "cluster_name") == cluster)


def decompresses_requests_alone(http_filter: Node) -> bool:
    """Whether the filter is a decompressor whose response direction is off; Envoy's default is on."""
    off = field(unwrapped(http_filter), "response_direction_config", "common_config", "enabled", "default_value") is False
    return off and filter_kind(http_filter) == "decompressor"
