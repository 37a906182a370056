"""The route table: one route per upstream, chosen by the header the service sets, and the first upstream for the rest."""

import json
from datetime import timedelta
from typing import Final

from headrace.ext_proc.core.candidates import FAILOVER
from headrace.ext_proc.envoy.config.failover import candidates_of_route, retry_policy
from headrace.ext_proc.envoy.config.names import NAMESPACE, PICKED, REASON_HEADER, RESPONSE_HEADERS, ROUTE_HEADER
from headrace.ext_proc.envoy.config.settings import GatewaySettings, Upstream
from headrace.ext_proc.envoy.config.stubs import core, route, value_matcher

ENVOY_HEADERS: Final = ("x-envoy-external-address",)
_CHOSEN: Final = f"metadata.filter_metadata['{NAMESPACE}']['{RESPONSE_HEADERS[REASON_HEADER]}']"
REASON: Final = f"%CEL(upstream.request_attempt_count > 1 ? '{FAILOVER}' : {_CHOSEN})%"
"""Of the choice, or of what became of it: each further attempt goes to another upstream."""

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


def route_table(settings: GatewaySettings) -> route.RouteConfiguration:
    """Routes for all hosts; a routing decision that no upstream matches is refused, never sent to the default."""
    chosen = [_chosen(upstream, settings) for upstream in settings.upstreams]
    routes = [*chosen, _unknown(), _default(settings.upstreams[0], settings)]
    host = route.VirtualHost(name="headrace", domains=["*"], routes=routes, request_body_buffer_limit=settings.body_limit)
    return route.RouteConfiguration(
        name="headrace",
        virtual_hosts=[host],
        request_headers_to_remove=[ROUTE_HEADER, *ENVOY_HEADERS, *([PICKED] if settings.picks else [])],
        response_headers_to_add=response_headers(),
        most_specific_header_mutations_wins=settings.failover is not None,
    )


def response_headers() -> list[core.HeaderValueOption]:
    """Written by Envoy from the metadata the service returned; they overwrite the upstream's headers of the same name."""
    return [_from_metadata(header, key) for header, key in RESPONSE_HEADERS.items()]


def _from_metadata(header: str, key: str) -> core.HeaderValueOption:
    return _overwrite(header, f"%DYNAMIC_METADATA({NAMESPACE}:{key})%")


def _overwrite(header: str, value: str) -> core.HeaderValueOption:
    return core.HeaderValueOption(
        header=core.HeaderValue(key=header, value=value),
        append_action=core.HeaderValueOptionHeaderAppendAction.OVERWRITE_IF_EXISTS_OR_ADD,
    )


def _chosen(upstream: Upstream, settings: GatewaySettings) -> route.Route:
    exact = route.HeaderMatcher(name=ROUTE_HEADER, string_match=value_matcher.StringMatcher(exact=upstream.name))
    match = route.RouteMatch(prefix="/", headers=[exact])
    name, action = f"routed to {upstream.name}", _to(upstream, settings)
    if settings.failover is None:
        action.cluster = upstream.name
        return route.Route(name=name, match=match, route=action)
    action.inline_cluster_specifier_plugin = candidates_of_route(upstream, settings.upstreams)
    action.retry_policy = retry_policy(settings.failover)
    answered = [_overwrite(ROUTE_HEADER, "%UPSTREAM_CLUSTER%"), _overwrite(REASON_HEADER, REASON)]
    return route.Route(name=name, match=match, route=action, response_headers_to_add=answered)


def _default(upstream: Upstream, settings: GatewaySettings) -> route.Route:
    action = _to(upstream, settings)
    action.cluster = upstream.name
    return route.Route(name="default", match=route.RouteMatch(prefix="/"), route=action)


def _to(upstream: Upstream, settings: GatewaySettings) -> route.RouteAction:
    """All of an action but its cluster. The host is the one of the upstream that is asked; so is the path's prefix, which the
    service sets where it is called at every attempt.
    """
    prefix = "" if settings.attempts or not upstream.prefix else f"{upstream.prefix}/"
    return route.RouteAction(auto_host_rewrite=True, prefix_rewrite=prefix, timeout=timedelta(0))


def _unknown() -> route.Route:
    decided = route.HeaderMatcher(name=ROUTE_HEADER, present_match=True)
    return route.Route(
        name="unknown upstream",
        match=route.RouteMatch(prefix="/", headers=[decided]),
        direct_response=route.DirectResponseAction(status=503, body=core.DataSource(inline_string=NO_SUCH_UPSTREAM)),
        response_headers_to_add=[core.HeaderValueOption(header=core.HeaderValue(key="content-type", value="application/json"))],
    )
