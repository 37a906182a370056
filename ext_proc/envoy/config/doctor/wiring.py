"""One place where a gateway calls the service, with everything the rules look at."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from headrace.ext_proc.envoy.config.managers import Manager, clusters, filter_kind, managers, unwrapped
from headrace.ext_proc.envoy.config.names import CAPABILITIES_HEADER
from headrace.ext_proc.envoy.config.nodes import Node, field, items, walk


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
        """The route table: inline, or the one of that name in the same file (a config_dump has it); else None."""
        inline = field(self.manager.config, "route_config")
        name = field(self.manager.config, "rds", "route_config_name")
        if inline is not None or name is None:
            return inline
        return next((one for one in walk(self.root) if items(one, "virtual_hosts") and field(one, "name") == name), None)

    def routes(self) -> Iterator[tuple[Node, Node]]:
        """Every route to an upstream, with its virtual host."""
        for host in items(self.table, "virtual_hosts"):
            for route in items(host, "routes"):
                if field(route, "route") is not None:
                    yield host, route


def wirings(root: Node, cluster: str, body_limit: int) -> Iterator[Wiring]:
    """Every ext_proc filter that calls `cluster`."""
    for manager in managers(root):
        for one in items(manager.config, "http_filters"):
            service = field(unwrapped(one), "grpc_service", "envoy_grpc", "cluster_name")
            if filter_kind(one) == "ext_proc" and service == cluster:
                yield Wiring(root, manager, one, cluster, body_limit)
