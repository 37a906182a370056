"""Whether the routes of somebody's route table ask another upstream where one fails."""

from collections.abc import Sequence

from headrace.ext_proc.envoy.config.names import CANDIDATES_NAMESPACE, ROUTE_HEADER
from headrace.ext_proc.envoy.config.nodes import Node, field, items


def chosen_routes(table: Node) -> Sequence[Node]:
    """Those to an upstream that a routing decision names."""
    routes = (route for host in items(table, "virtual_hosts") for route in items(host, "routes"))
    return [route for route in routes if field(route, "route") is not None and _by_decision(route)]


def _by_decision(route: Node) -> bool:
    return any(str(field(header, "name")).lower() == ROUTE_HEADER for header in items(route, "match", "headers"))


def asks_others(route: Node) -> bool:
    """Whether a further attempt goes to the service's next candidate."""
    action = field(route, "route")
    specifier = field(action, "inline_cluster_specifier_plugin", "extension", "typed_config")
    named = field(specifier, "override_metadata_namespace") == CANDIDATES_NAMESPACE or field(action, "cluster_specifier_plugin")
    return bool(named) and field(action, "retry_policy", "refresh_cluster_on_retry") is True


def table_asks_others(table: Node) -> bool:
    chosen = chosen_routes(table)
    return bool(chosen) and all(map(asks_others, chosen))
