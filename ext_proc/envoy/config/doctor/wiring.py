"""One place where a gateway calls the service, with everything the rules look at."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from headrace.ext_proc.envoy.config.managers import Manager, calls_service, clusters, filter_kind, managers, unwrapped
from headrace.ext_proc.envoy.config.names import CAPABILITIES_HEADER, USAGE_NAMESPACE
from headrace.ext_proc.envoy.config.nodes import Node, field, is_a, items, walk


@dataclass(frozen=True)
class Wiring:
    """An ext_proc filter that calls the service, within its connection manager. `body_limit` is the prompt's, in bytes."""

    root: Node
    manager: Manager
    filter: Node
    cluster_name: str
    body_limit: int

    @property
    def processor(self) -> Node:
        """The ExternalProcessor message."""
        return unwrapped(self.filter)

    @property
    def name(self) -> str:
        return str(field(self.filter, "name"))

    @cached_property
    def filters(self) -> Sequence[Node]:
        return items(self.manager.config, "http_filters")

    @cached_property
    def place(self) -> int:
        """The filter's index in the chain."""
        return next(index for index, one in enumerate(self.filters) if one is self.filter)

    def of_kind(self, kind: str) -> Iterator[tuple[int, Node]]:
        """The filters of one kind (`jwt_authn`, …) with their index in the chain."""
        return ((index, one) for index, one in enumerate(self.filters) if filter_kind(one) == kind)

    @cached_property
    def cluster(self) -> Node:
        """The service's cluster, or None where this file does not define it."""
        return next((one for one in clusters(self.root) if field(one, "name") == self.cluster_name), None)

    @cached_property
    def capabilities(self) -> frozenset[str]:
        """What the gateway tells the service it does by itself."""
        for header in items(self.processor, "grpc_service", "initial_metadata"):
            if str(field(header, "key")).lower() == CAPABILITIES_HEADER:
                return frozenset(word.strip() for word in str(field(header, "value")).split(","))
        return frozenset()

    @cached_property
    def table(self) -> Node:
        """The route table, or None where this file has it not."""
        return table_of(self.root, self.manager)

    def places(self) -> Iterator[Node]:
        """The route table, its virtual hosts and all of their routes."""
        if self.table is not None:
            yield self.table
        for host in items(self.table, "virtual_hosts"):
            yield host
            yield from items(host, "routes")

    def routes(self) -> Iterator[tuple[Node, Node]]:
        """Every route to an upstream, with its virtual host."""
        for host in items(self.table, "virtual_hosts"):
            for route in items(host, "routes"):
                if field(route, "route") is not None:
                    yield host, route


def table_of(root: Node, manager: Manager) -> Node:
    """The route table: inline, or the one of that name in the same file (a config_dump has it); else None."""
    inline = field(manager.config, "route_config")
    name = field(manager.config, "rds", "route_config_name")
    if inline is not None or name is None:
        return inline
    return next((one for one in walk(root) if items(one, "virtual_hosts") and field(one, "name") == name), None)


def override(place: Node, name: str) -> Node:
    """What a route, a virtual host or a route table says of the filter of that name; None where it says nothing."""
    configs = field(place, "typed_per_filter_config")
    return configs.get(name) if isinstance(configs, Mapping) else None


def per_route(found: Node) -> Node:
    """An override's message for the filter itself, also where it is wrapped in a FilterConfig."""
    return field(found, "config") if is_a(found, "FilterConfig") else found


def switched_off(found: Node) -> Node:
    """The message of an override that has `disabled: true`: the FilterConfig, or the filter's own; None where none has."""
    return next((one for one in (found, per_route(found)) if field(one, "disabled") is True), None)


def asks(http_filter: Node, cluster: str) -> bool:
    """Whether this is an ext_proc filter that calls `cluster`."""
    return filter_kind(http_filter) == "ext_proc" and calls_service(unwrapped(http_filter), cluster)


def reads_usage(http_filter: Node) -> bool:
    """Whether the filter writes what it finds in answers to the metadata that the access log carries."""
    return any(field(node, "metadata_namespace") == USAGE_NAMESPACE for node in walk(unwrapped(http_filter)))


def wirings(root: Node, cluster: str, body_limit: int) -> Iterator[Wiring]:
    """Every ext_proc filter that calls `cluster`."""
    for manager in managers(root):
        for one in items(manager.config, "http_filters"):
            if asks(one, cluster):
                yield Wiring(root, manager, one, cluster, body_limit)
