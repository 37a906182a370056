"""Rules on what stands beside the plugin on a route."""

from collections.abc import Iterator, Mapping
from typing import Final

from headrace.ext_proc.apisix.doctor.rule import Rules, Wrong
from headrace.ext_proc.apisix.doctor.settings_rules import HOOK
from headrace.ext_proc.apisix.doctor.site import Route, Site
from headrace.ext_proc.apisix.settings import BODY_LIMIT, PLUGIN
from headrace.ext_proc.envoy.config.nodes import Node, field, items

RULES = Rules()

LATER: Final[Mapping[str, str]] = {
    "ai-rag": "adds documents to the prompt",
    "ai-request-rewrite": "has another model write the prompt anew",
}
"""Plugins that change the prompt in the access phase, which comes after every plugin's rewrite phase."""

SIZES: Final = (("client-control", "max_body_size"), ("ai-proxy", "max_req_body_size"), ("ai-proxy-multi", "max_req_body_size"))


@RULES.rule("unasked", f"add the plugin {PLUGIN} to it")
def unasked(site: Site) -> Iterator[Wrong]:
    for route in site.routes():
        if route.ai_proxy and route.conf is None:
            yield _wrong(route, route.resource.node, "plugins", f"calls models by {route.ai_proxy} without asking Headrace")


@RULES.rule("version", "take APISIX 3.16 or newer, or set request_only: true")
def version(site: Site) -> Iterator[Wrong]:
    for route in site.routes():
        if site.version < HOOK and route.conf is not None and route.ai_proxy and not route.request_only:
            number = ".".join(map(str, site.version))
            what = f"the {route.ai_proxy} of APISIX {number} gives plugins no answers; the plugin refuses its requests"
            yield _wrong(route, route.conf, "", what)


@RULES.rule("ai-cache", "remove ai-cache from it")
def ai_cache(site: Site) -> Iterator[Wrong]:
    for route in site.routes():
        if route.conf is not None and "ai-cache" in route.plugins:
            what = "ai-cache gives what was restored for one caller to others; the plugin refuses its requests"
            yield _wrong(route, route.resource.node, "plugins", what)


@RULES.rule("order", "do it before Headrace, in a service of your own, or without Headrace's counting and scrubbing in mind")
def order(site: Site) -> Iterator[Wrong]:
    for route in site.routes():
        for name, words in LATER.items():
            if route.conf is not None and name in route.plugins:
                what = f"{name} {words} after Headrace has counted and scrubbed it"
                yield _wrong(route, route.plugins[name], "", what)


@RULES.rule("buffering", "add proxy-buffering: disable_proxy_buffering: true")
def buffering(site: Site) -> Iterator[Wrong]:
    for route in site.routes():
        off = field(route.plugins.get("proxy-buffering"), "disable_proxy_buffering") is True
        if route.request_only and not route.ai_proxy and not off:
            yield _wrong(
                route, route.conf, "request_only", "nginx holds streams back where the plugin does not pass them on itself"
            )


@RULES.rule("route-body-limit", "raise it, or lower max_body_bytes of the plugin")
def route_body_limit(site: Site) -> Iterator[Wrong]:
    for route in site.routes():
        for plugin, key in SIZES:
            most, ours = field(route.plugins.get(plugin), key), field(route.conf, "max_body_bytes") or BODY_LIMIT
            if route.conf is not None and isinstance(most, int) and 0 < most < int(ours):
                what = f"{plugin} refuses prompts over {most} bytes in words of its own"
                yield _wrong(route, route.plugins[plugin], key, what)


@RULES.rule("target", "name one that is there")
def target(site: Site) -> Iterator[Wrong]:
    upstreams = {str(one.node.get("id")) for one in site.of_kind("upstreams")}
    for route in site.routes():
        instances = {str(field(one, "name")) for one in items(route.plugins.get("ai-proxy-multi"), "instances")}
        for name, to in _targets(route.conf):
            upstream, instance = field(to, "upstream_id"), field(to, "instance")
            if upstream is not None and upstreams and str(upstream) not in upstreams:
                yield _wrong(route, to, "upstream_id", f"route {name!r} goes to the upstream {upstream!r}, which is not there")
            if instance is not None and str(instance) not in instances:
                yield _wrong(
                    route, to, "instance", f"route {name!r} goes to the instance {instance!r}, which ai-proxy-multi has not"
                )


def _targets(conf: Node) -> Iterator[tuple[str, Node]]:
    routes = field(conf, "routes")
    for name, to in routes.items() if isinstance(routes, Mapping) else ():
        if isinstance(to, Mapping):
            yield str(name), to


def _wrong(route: Route, node: Node, key: str, what: str) -> Wrong:
    return Wrong(route.resource.file, node, key, f"{route.resource.name}: {what}")
