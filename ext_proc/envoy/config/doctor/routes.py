"""Rules on listeners and route tables."""

from collections.abc import Iterator
from typing import Final

from headrace.ext_proc.envoy.config.doctor.processor import mode, wrong_modes
from headrace.ext_proc.envoy.config.doctor.rule import Rules, Wrong
from headrace.ext_proc.envoy.config.doctor.wiring import Wiring, override, per_route, switched_off
from headrace.ext_proc.envoy.config.elsewhere import asks_others, chosen_routes
from headrace.ext_proc.envoy.config.names import FAILOVER, NAMESPACE, ROUTE_HEADER
from headrace.ext_proc.envoy.config.nodes import Node, field, items, number, seconds

RULES = Rules()

ENVOY_BUFFER: Final = 1024 * 1024
ENVOY_TIMEOUT: Final = 15.0


@RULES.rule("buffer-limit", "set per_connection_buffer_limit_bytes: 16777216 (or request_body_buffer_limit on the routes)")
def buffer_limit(wiring: Wiring) -> Iterator[Wrong]:
    listener = wiring.manager.listener
    limit = number(field(listener, "per_connection_buffer_limit_bytes"), ENVOY_BUFFER)
    if limit < wiring.body_limit and not _raised_by_routes(wiring):
        what = f"prompts over {limit:g} bytes are refused with 413, and JSON answers whose usage is read with 500"
        yield Wrong(listener, "per_connection_buffer_limit_bytes", what)


def _raised_by_routes(wiring: Wiring) -> bool:
    found = [
        max(number(field(place, "request_body_buffer_limit"), 0) for place in places) >= wiring.body_limit
        for places in wiring.routes()
    ]
    return bool(found) and all(found)


@RULES.rule("request-buffer-limit", "raise per_request_buffer_limit_bytes to 16777216 or remove it")
def request_buffer_limit(wiring: Wiring) -> Iterator[Wrong]:
    for place in wiring.places():
        limit = number(field(place, "per_request_buffer_limit_bytes"), wiring.body_limit)
        if limit < wiring.body_limit:
            yield Wrong(place, "per_request_buffer_limit_bytes", f"prompts over {limit:g} bytes are refused with 413")


@RULES.rule("route-header", f"add {ROUTE_HEADER} to request_headers_to_remove of the route configuration")
def route_header(wiring: Wiring) -> Iterator[Wrong]:
    """One finding for a table, at its first route that lets the header through."""
    for host, route in wiring.routes():
        if not any(_removes(place, ROUTE_HEADER) for place in (wiring.table, host, route)):
            yield Wrong(route, "", f"{ROUTE_HEADER} is not removed from requests: it tells the upstream of the routing decision")
            return


def _removes(place: Node, header: str) -> bool:
    return header in (str(name).lower() for name in items(place, "request_headers_to_remove"))


@RULES.rule("route-timeout", "set timeout: 0s on the route, or disable the filter there if it serves no models")
def route_timeout(wiring: Wiring) -> Iterator[Wrong]:
    for _, route in wiring.routes():
        action = field(route, "route")
        if 0 < (found := seconds(field(action, "timeout"), ENVOY_TIMEOUT)) <= ENVOY_TIMEOUT:
            yield Wrong(action, "timeout", f"an answer that takes longer than {found:g} s ends as 504")


@RULES.rule("retry-policy", "set request_body_mode: BUFFERED, or remove retry_policy")
def retry_policy(wiring: Wiring) -> Iterator[Wrong]:
    if mode(field(wiring.processor, "processing_mode"), "request_body_mode") == "BUFFERED":
        return
    for place in wiring.places():
        for around in (place, field(place, "route")):
            if field(around, "retry_policy") is not None:
                what = "the upstream gets a streamed prompt twice where the client sends trailers"
                yield Wrong(around, "retry_policy", what)


@RULES.rule("failover-routes", "give it the cluster specifier and the retry_policy that `headrace envoy config` writes")
def failover_routes(wiring: Wiring) -> Iterator[Wrong]:
    if FAILOVER in wiring.capabilities:
        for route in chosen_routes(wiring.table):
            if not asks_others(route):
                yield Wrong(route, "", "the service names further upstreams, and this route asks none of them where one fails")


@RULES.rule("websocket", "disable the filter on the realtime routes: typed_per_filter_config with ExtProcPerRoute {disabled: true}")
def websocket(wiring: Wiring) -> Iterator[Wrong]:
    everywhere = _upgrades(wiring.manager.config)
    for _, route in wiring.routes():
        here = _upgrades(field(route, "route"))
        enabled = here if here is not None else everywhere
        if enabled and switched_off(override(route, wiring.name)) is None:
            yield Wrong(route, "", "a websocket on this route is refused on the paths of calls, and on others passes unread")


def _upgrades(place: Node) -> bool | None:
    """Whether websocket upgrades are allowed here; None where nothing is said about them."""
    for config in items(place, "upgrade_configs"):
        if str(field(config, "upgrade_type")).lower() == "websocket":
            return field(config, "enabled") is not False
    return None


@RULES.rule("route-override", "remove the override from typed_per_filter_config; envoy/README.md has a filter for some hosts alone")
def route_override(wiring: Wiring) -> Iterator[Wrong]:
    for place in wiring.places():
        found = override(place, wiring.name)
        realtime = _upgrades(field(place, "route")) or (_upgrades(wiring.manager.config) and field(place, "match") is not None)
        if (off := switched_off(found)) is not None and not realtime:
            yield Wrong(off, "disabled", "requests that match here pass Headrace by")
        yield from _weakened(wiring, field(per_route(found), "overrides"))


def _weakened(wiring: Wiring, overrides: Node) -> Iterator[Wrong]:
    if field(overrides, "failure_mode_allow") is True:
        yield Wrong(overrides, "failure_mode_allow", "without the service, requests that match here pass unchecked")
    if (modes := field(overrides, "processing_mode")) is not None:
        yield from wrong_modes(modes)
    options = field(overrides, "metadata_options")
    if options is not None and NAMESPACE not in items(options, "receiving_namespaces", "untyped"):
        yield Wrong(overrides, "metadata_options", "Envoy drops the service's metadata for requests that match here")
    service = field(overrides, "grpc_service", "envoy_grpc", "cluster_name")
    if service not in (None, wiring.cluster_name):
        yield Wrong(overrides, "grpc_service", f"requests that match here go to the cluster {service} instead of the service")
