"""Rules on the filters around ours, and on what stands before them."""

from collections.abc import Iterator
from typing import Final

from headrace.ext_proc.envoy.config.doctor.rule import Rules, Wrong
from headrace.ext_proc.envoy.config.doctor.wiring import Wiring, asks
from headrace.ext_proc.envoy.config.managers import decompresses_requests_alone
from headrace.ext_proc.envoy.config.names import ROUTE_HEADER
from headrace.ext_proc.envoy.config.nodes import Node, field, items, seconds, walk

RULES = Rules()

BEFORE_US: Final = frozenset({"jwt_authn", "ext_authz", "oauth2", "basic_auth", "api_key_auth", "rbac", "cors"})
"""Filters that know the caller, or answer for others."""

LONG: Final = 60.0
"""Seconds that models take as a matter of course, before the first token and for an answer."""


@RULES.rule("asked-twice", "remove one of the two filters")
def asked_twice(wiring: Wiring) -> Iterator[Wrong]:
    if any(_on(one) and asks(one, wiring.cluster_name) for one in wiring.filters[: wiring.place]) and _on(wiring.filter):
        yield Wrong(wiring.filter, "", "a filter before this one asks Headrace, too: every request is charged twice")


def _on(one: Node) -> bool:
    return field(one, "disabled") is not True


@RULES.rule("authentication-order", "move the filter before ext_proc")
def authentication_order(wiring: Wiring) -> Iterator[Wrong]:
    for kind in sorted(BEFORE_US):
        for index, one in wiring.of_kind(kind):
            if index > wiring.place:
                yield Wrong(one, "", f"{kind} stands behind ext_proc: Headrace charges for requests that it then refuses")


@RULES.rule("compressor-order", "move the compressor before ext_proc")
def compressor_order(wiring: Wiring) -> Iterator[Wrong]:
    for index, one in wiring.of_kind("compressor"):
        if index > wiring.place:
            yield Wrong(one, "", "the compressor stands behind ext_proc: Headrace gets compressed answers, which it cannot read")


@RULES.rule("decompressor-order", "move the decompressor before ext_proc")
def decompressor_order(wiring: Wiring) -> Iterator[Wrong]:
    for index, one in wiring.of_kind("decompressor"):
        if index > wiring.place and decompresses_requests_alone(one):
            yield Wrong(
                one, "", "the decompressor stands behind ext_proc: Headrace refuses compressed requests before they reach it"
            )


@RULES.rule("client-headers", "run `headrace envoy patch`, which adds early_header_mutation_extensions")
def client_headers(wiring: Wiring) -> Iterator[Wrong]:
    if field(wiring.processor, "route_cache_action") in ("CLEAR", 1):
        return
    if not any(_removes_ours(one) for one in items(wiring.manager.config, "early_header_mutation_extensions")):
        what = f"a client's own {ROUTE_HEADER} takes part in choosing the route"
        yield Wrong(wiring.manager.config, "early_header_mutation_extensions", what)


def _removes_ours(extension: Node) -> bool:
    for node in walk(extension):
        prefix = field(node, "remove_on_match", "key_matcher", "prefix")
        if isinstance(prefix, str) and prefix and ROUTE_HEADER.startswith(prefix.lower()):
            return True
        if str(field(node, "remove")).lower() == ROUTE_HEADER:
            return True
    return False


@RULES.rule("idle-timeout", "set stream_idle_timeout: 600s, and no idle_timeout on the route")
def idle_timeout(wiring: Wiring) -> Iterator[Wrong]:
    found = seconds(field(wiring.manager.config, "stream_idle_timeout"), LONG)
    if found == 0:
        what = "nothing ends a request whose answer the service never gives back"
        yield Wrong(wiring.manager.config, "stream_idle_timeout", what)
    for place, key in ((wiring.manager.config, "stream_idle_timeout"), *_actions(wiring, "idle_timeout")):
        if 0 < (found := seconds(field(place, key), LONG)) < LONG:
            yield Wrong(place, key, f"an answer is cut off where the model thinks for {found:g} s between two tokens")


@RULES.rule("stream-duration", "remove max_stream_duration")
def stream_duration(wiring: Wiring) -> Iterator[Wrong]:
    common = field(wiring.manager.config, "common_http_protocol_options")
    on_routes = [(field(action, key), key) for action, key in _actions(wiring, "max_stream_duration")]
    for place, key in ((common, "max_stream_duration"), *on_routes):
        if 0 < (found := seconds(field(place, key), LONG)) < LONG:
            yield Wrong(place, key, f"an answer that takes longer than {found:g} s is cut off")


def _actions(wiring: Wiring, key: str) -> Iterator[tuple[Node, str]]:
    return ((field(route, "route"), key) for _, route in wiring.routes())
