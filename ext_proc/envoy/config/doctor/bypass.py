"""Rules on ways to the models that do not lead through Headrace."""

from collections.abc import Iterator

from headrace.ext_proc.envoy.config.doctor.rule import Rules, Wrong
from headrace.ext_proc.envoy.config.doctor.wiring import Wiring, override, switched_off, table_of
from headrace.ext_proc.envoy.config.managers import calls_service, filter_kind, managers, unwrapped
from headrace.ext_proc.envoy.config.nodes import Node, field, items

RULES = Rules()


@RULES.rule("disabled", "remove disabled from the filter, or enable it on the route by typed_per_filter_config")
def disabled(wiring: Wiring) -> Iterator[Wrong]:
    if field(wiring.filter, "disabled") is not True:
        return
    models = _models(wiring)
    if not models:
        yield Wrong(wiring.filter, "disabled", "the filter is disabled and no route enables it: no request reaches Headrace")
    for host, route in wiring.routes():
        if not _asked(wiring, host, route) and _clusters(route) & models:
            yield Wrong(route, "", "this route does not enable the filter: requests to a model pass Headrace by")


@RULES.rule("unasked", "run `headrace envoy patch` on this listener, too, or remove the route")
def unasked(wiring: Wiring) -> Iterator[Wrong]:
    models = _models(wiring)
    for manager in managers(wiring.root):
        if any(_is_ours(one, wiring) for one in items(manager.config, "http_filters")):
            continue
        for host in items(table_of(wiring.root, manager), "virtual_hosts"):
            for route in items(host, "routes"):
                if found := sorted(_clusters(route) & models):
                    what = f"listener {manager.listener_name} leads to the cluster {found[0]} without asking Headrace"
                    yield Wrong(route, "", what)


def _is_ours(http_filter: Node, wiring: Wiring) -> bool:
    return filter_kind(http_filter) == "ext_proc" and calls_service(unwrapped(http_filter), wiring.cluster_name)


def _models(wiring: Wiring) -> frozenset[str]:
    """The clusters that requests reach through Headrace."""
    return frozenset(name for host, route in wiring.routes() if _asked(wiring, host, route) for name in _clusters(route))


def _asked(wiring: Wiring, host: Node, route: Node) -> bool:
    """Whether the filter runs for a route: the override nearest to it counts, and none leaves the filter as it is."""
    overrides = (override(place, wiring.name) for place in (route, host, wiring.table))
    nearest = next((one for one in overrides if one is not None), None)
    if nearest is None:
        return field(wiring.filter, "disabled") is not True
    return switched_off(nearest) is None


def _clusters(route: Node) -> frozenset[str]:
    action = field(route, "route")
    weighted = items(action, "weighted_clusters", "clusters")
    names = (field(action, "cluster"), *(field(one, "name") for one in weighted))
    return frozenset(str(name) for name in names if name)
