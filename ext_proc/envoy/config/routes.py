"""The route table: one route per upstream, chosen by the header the service sets, and the first upstream for the rest."""

import json
from collections.abc import Iterable
from datetime import timedelta
from typing import Final

from headrace.ext_proc.envoy.config.names import NAMESPACE, RESPONSE_HEADERS, ROUTE_HEADER
from headrace.ext_proc.envoy.config.settings import Upstream
from headrace.ext_proc.envoy.config.stubs import core, route, value_matcher

REMOVED_BEFORE_UPSTREAM: Final = (ROUTE_HEADER, "accept-encoding")
"""A compressed answer hides its usage; a compressor filter of the gateway has read accept-encoding before it is removed."""

ENVOY_HEADERS: Final = ("x-envoy-external-address",)
NO_SUCH_UPSTREAM: Final = json.dumps(
    {
        "error": {
            "message": "The routing decision names an upstream this gateway does not have.",
            "type": "server_error",
            "param": None,
            "code": "route.unknown_upstream",
        }
    }
)


def route_table(upstreams: tuple[Upstream, ...], body_limit: int) -> route.RouteConfiguration:
    """Routes for all hosts; a routing decision that no upstream matches is refused, never sent to the default."""
    routes = [*map(_chosen, upstreams), _unknown(), _default(upstreams[0])]
    host = route.VirtualHost(name="headrace", domains=["*"], routes=routes, request_body_buffer_limit=body_limit)
    return route.RouteConfiguration(
        name="headrace",
        virtual_hosts=[host],
        request_headers_to_remove=[*REMOVED_BEFORE_UPSTREAM, *ENVOY_HEADERS],
        response_headers_to_add=response_headers(),
    )


def response_headers() -> list[core.HeaderValueOption]:
    """Written by Envoy from the metadata the service returned; they overwrite the upstream's headers of the same name."""
    return [_from_metadata(header, key) for header, key in RESPONSE_HEADERS.items()]


def _from_metadata(header: str, key: str) -> core.HeaderValueOption:
    return core.HeaderValueOption(
        header=core.HeaderValue(key=header, value=f"%DYNAMIC_METADATA({NAMESPACE}:{key})%"),
        append_action=core.HeaderValueOptionHeaderAppendAction.OVERWRITE_IF_EXISTS_OR_ADD,
    )


def _chosen(upstream: Upstream) -> route.Route:
    exact = route.HeaderMatcher(name=ROUTE_HEADER, string_match=value_matcher.StringMatcher(exact=upstream.name))
    return _to(upstream, f"routed to {upstream.name}", [exact])


def _default(upstream: Upstream) -> route.Route:
    return _to(upstream, "default", ())


def _to(upstream: Upstream, name: str, headers: Iterable[route.HeaderMatcher]) -> route.Route:
    action = route.RouteAction(
        cluster=upstream.name,
        host_rewrite_literal=upstream.authority,
        prefix_rewrite=f"{upstream.prefix}/" if upstream.prefix else "",
        timeout=timedelta(0),
    )
    return route.Route(name=name, match=route.RouteMatch(prefix="/", headers=list(headers)), route=action)


def _unknown() -> route.Route:
    decided = route.HeaderMatcher(name=ROUTE_HEADER, present_match=True)
    return route.Route(
        name="unknown upstream",
        match=route.RouteMatch(prefix="/", headers=[decided]),
        direct_response=route.DirectResponseAction(status=503, body=core.DataSource(inline_string=NO_SUCH_UPSTREAM)),
        response_headers_to_add=[
            core.HeaderValueOption(header=core.HeaderValue(key="content-type", value="application/json"))
        ],
    )
