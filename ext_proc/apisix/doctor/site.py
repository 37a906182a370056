"""An APISIX as its files describe it: what every rule looks at."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from headrace.ext_proc.apisix.settings import PLUGIN, ApisixError
from headrace.ext_proc.envoy.config.document import ConfigError, load
from headrace.ext_proc.envoy.config.nodes import Node, items

Version = tuple[int, int]

KINDS = ("routes", "services", "upstreams", "global_rules", "plugin_configs", "consumers", "consumer_groups", "ssls", "secrets")
SETTINGS = ("apisix", "nginx_config", "deployment", "plugin_attr")
AI_PROXIES = ("ai-proxy", "ai-proxy-multi")
END = "#END"


@dataclass(frozen=True)
class Resource:
    """One of APISIX's resources: a route, a service and so on."""

    file: str
    kind: str
    node: Node

    @property
    def plugins(self) -> Mapping[str, Node]:
        found = self.node.get("plugins")
        return found if isinstance(found, Mapping) else {}

    @property
    def name(self) -> str:
        return f"{self.kind.removesuffix('s')} {self.node.get('id', self.node.get('username', ''))}".rstrip()


@dataclass(frozen=True)
class Route:
    """A route with the plugins of its service and its plugin_config, as APISIX merges them."""

    resource: Resource
    plugins: Mapping[str, Node]

    @property
    def conf(self) -> Node:
        """The plugin's configuration; None where the route does not have it."""
        return self.plugins.get(PLUGIN)

    @property
    def ai_proxy(self) -> str | None:
        return next((name for name in AI_PROXIES if name in self.plugins), None)

    @property
    def request_only(self) -> bool:
        return isinstance(self.conf, Mapping) and self.conf.get("request_only") is True


@dataclass
class Site:
    """All files together.

    settings: what conf/config.yaml holds, by file. unended: files of standalone mode without their last line. roots: YAML, by file.
    """

    version: Version
    settings: dict[str, Node] = field(default_factory=dict)
    resources: list[Resource] = field(default_factory=list)
    unended: list[str] = field(default_factory=list)
    roots: dict[str, Node] = field(default_factory=dict)

    def of_kind(self, kind: str) -> Iterator[Resource]:
        return (one for one in self.resources if one.kind == kind)

    def routes(self) -> Iterator[Route]:
        """Those that are in force."""
        for route in self.of_kind("routes"):
            if route.node.get("status") != 0:
                yield Route(route, self._merged(route))

    def _merged(self, route: Resource) -> Mapping[str, Node]:
        merged: dict[str, Node] = {}
        for kind, key in (("services", "service_id"), ("plugin_configs", "plugin_config_id")):
            for one in self.of_kind(kind):
                if key in route.node and str(one.node.get("id")) == str(route.node[key]):
                    merged |= one.plugins
        return merged | dict(route.plugins)

    def confs(self) -> Iterator[tuple[Resource, Node]]:
        """Every place where the plugin is configured."""
        for one in self.resources:
            if isinstance(one.plugins.get(PLUGIN), Mapping):
                yield one, one.plugins[PLUGIN]


def read_site(texts: Mapping[str, str], version: Version) -> Site:
    """texts: file name → its text: conf/config.yaml, conf/apisix.yaml, answers of the Admin API. Raises ApisixError."""
    site = Site(version)
    for name, text in texts.items():
        _add(site, name, text)
    return site


def _add(site: Site, name: str, text: str) -> None:
    root = _parsed(name, text)
    known = False
    if any(key in root for key in SETTINGS) or _is_plugin_list(root.get("plugins")):
        site.settings[name], known = root, True
    found = [*_standalone(name, root), *_admin(name, root)]
    site.resources += found
    if not known and not found and not any(kind in root for kind in KINDS):
        raise ApisixError(f"{name}:1: this is neither conf/config.yaml, nor conf/apisix.yaml, nor an answer of the Admin API")
    if any(kind in root for kind in KINDS) and not text.rstrip().endswith(END) and not text.lstrip().startswith("{"):
        site.unended.append(name)
    if not _is_json(text):
        site.roots[name] = root


def _is_plugin_list(value: Any) -> bool:
    return isinstance(value, Sequence) and any(isinstance(one, str) for one in value)


def _standalone(name: str, root: Node) -> Iterator[Resource]:
    for kind in KINDS:
        for node in items(root, kind):
            if isinstance(node, Mapping):
                yield Resource(name, kind, node)


def _admin(name: str, root: Node) -> Iterator[Resource]:
    """One resource as `{key, value}`, or a list of them."""
    for one in [*items(root, "list"), root]:
        if isinstance(one, Mapping) and isinstance(one.get("value"), Mapping) and isinstance(one.get("key"), str):
            kind = one["key"].removeprefix("/apisix/").partition("/")[0]
            yield Resource(name, kind, one["value"])


def _parsed(name: str, text: str) -> Node:
    try:
        return load(text, name, "a mapping is expected, as in conf/config.yaml and conf/apisix.yaml")
    except ConfigError as error:
        raise ApisixError(str(error)) from error


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True
