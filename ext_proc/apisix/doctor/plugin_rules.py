"""Rules on the plugin's own configuration, wherever it stands."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from headrace.ext_proc.apisix.doctor.rule import Rules, Wrong
from headrace.ext_proc.apisix.doctor.site import Site
from headrace.ext_proc.apisix.settings import PLUGIN, ApisixError, checked_service
from headrace.ext_proc.engine.policy.problems import suggestion
from headrace.ext_proc.envoy.config.nodes import Node, field, items
from headrace.ext_proc.envoy.config.settings import Address

RULES = Rules()

SETTINGS: Final[Mapping[str, Sequence[str]]] = {
    "": (
        "service", "connect_timeout_ms", "message_timeout_ms", "failure_mode_allow", "max_body_bytes", "request_only", "routes",
        "_meta",
    ),
    "failure_mode_allow": ("request", "response"),
}  # fmt: skip
"""Of the plugin, and of the mappings in it."""

LOWEST, HIGHEST = 1035, 1039
"""Priorities that leave the plugin behind ai-proxy (1040), whose choice it overrules, and before what rewrites answers."""


@RULES.rule("nowhere", "put the plugin on the routes of your models, as `headrace apisix config` writes it")
def nowhere(site: Site) -> Iterator[Wrong]:
    if site.resources and next(site.confs(), None) is None:
        yield Wrong(site.resources[0].file, None, "", f"no route has the plugin {PLUGIN}: no request reaches Headrace")


@RULES.rule("global-rule", "move it to the routes, or to a service or plugin_config that they share")
def global_rule(site: Site) -> Iterator[Wrong]:
    for one in site.of_kind("global_rules"):
        if PLUGIN in one.plugins:
            what = f"{one.name}: a global rule gets no answers of ai-proxy, and the caller is not known yet; it refuses requests"
            yield Wrong(one.file, one.plugins, PLUGIN, what)


@RULES.rule("service", "name the workers' addresses: unix:/path, or host:port on this machine")
def service(site: Site) -> Iterator[Wrong]:
    for one, conf in site.confs():
        listed = items(conf, "service")
        if not listed:
            yield Wrong(one.file, conf, "service", f"{one.name}: no service is named")
        for text in listed:
            if (problem := _unreachable(str(text))) is not None:
                yield Wrong(one.file, conf, "service", f"{one.name}: {problem}")


def _unreachable(text: str) -> str | None:
    try:
        checked_service([Address.parse(text)])
    except (ApisixError, ValueError) as error:
        return str(error).splitlines()[0]
    return None


@RULES.rule("setting", "see apisix/README.md for the plugin's settings")
def setting(site: Site) -> Iterator[Wrong]:
    for one, conf in site.confs():
        for place, known in SETTINGS.items():
            node = field(conf, place) if place else conf
            for name in node if isinstance(node, Mapping) else ():
                if name not in known:
                    yield Wrong(
                        one.file, node, str(name), f"{one.name}: there is no setting {name!r}; {suggestion(str(name), known)}"
                    )


@RULES.rule("fail-open", "remove it, unless that is what you want")
def fail_open(site: Site) -> Iterator[Wrong]:
    for one, conf in site.confs():
        allowed = field(conf, "failure_mode_allow")
        for direction, words in (("request", "requests pass"), ("response", "answers pass")):
            if field(allowed, direction) is True:
                yield Wrong(one.file, allowed, direction, f"{one.name}: without the service, {words} unchecked")


@RULES.rule("meta", "remove it")
def meta(site: Site) -> Iterator[Wrong]:
    for one, conf in site.confs():
        for key, words in (("disable", "the plugin is turned off"), ("filter", "requests that do not match pass Headrace by")):
            if field(conf, "_meta", key):
                yield Wrong(one.file, conf["_meta"], key, f"{one.name}: {words}")


@RULES.rule("priority", "remove _meta.priority: the plugin's own, 1035, is right")
def priority(site: Site) -> Iterator[Wrong]:
    for one, conf in site.confs():
        given = field(conf, "_meta", "priority")
        if given is not None and not _is_between(given):
            what = f"{one.name}: at {given} the plugin is not between ai-proxy (1040) and ai-rate-limiting (1030)"
            yield Wrong(one.file, conf["_meta"], "priority", what)


def _is_between(given: Node) -> bool:
    return isinstance(given, int) and LOWEST <= given <= HIGHEST
