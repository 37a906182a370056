"""Rules on conf/config.yaml: that APISIX finds the plugin, loads it, and lets prompts in and answers out."""

import re
from collections.abc import Iterator, Mapping
from typing import Final

from headrace.ext_proc.apisix.doctor.rule import Rules, Wrong
from headrace.ext_proc.apisix.doctor.site import AI_PROXIES, Site
from headrace.ext_proc.apisix.settings import BODY_LIMIT, LUA_PATH, PLUGIN
from headrace.ext_proc.envoy.config.nodes import Node, field, items

RULES = Rules()

HOOK: Final = (3, 14)
FLUSHES: Final = (3, 16)
BLOCK_STYLE: Final = (3, 9)
FLUSH: Final = re.compile(r"^[^#\n]*postpone_output\s+0\s*;", re.MULTILINE)
SIZE: Final = re.compile(r"(\d+)([kmg]?)", re.IGNORECASE)
UNITS: Final = {"": 1, "k": 1024, "m": 1024**2, "g": 1024**3}


@RULES.rule("lua-path", f'set apisix: extra_lua_path: "{LUA_PATH}"')
def lua_path(site: Site) -> Iterator[Wrong]:
    for name, root in site.settings.items():
        if "?.lua" not in str(field(root, "apisix", "extra_lua_path") or ""):
            node = field(root, "apisix")
            what = "apisix.extra_lua_path names no folder of Lua files: APISIX does not find the plugin"
            yield Wrong(name, root if node is None else node, "extra_lua_path", what)


@RULES.rule("plugin-list", f"add {PLUGIN} to plugins; the list replaces APISIX's own, so it must name all that you use")
def plugin_list(site: Site) -> Iterator[Wrong]:
    for name, root in site.settings.items():
        listed = _listed(root)
        if PLUGIN not in listed:
            has_list = "the list of plugins does not name it" if listed else "APISIX's own list of plugins does not name it"
            yield Wrong(name, root, "plugins", f"{has_list}: {PLUGIN} is not loaded")


def _listed(root: Node) -> set[str]:
    return {name for name in items(root, "plugins") if isinstance(name, str)}


@RULES.rule("plugins-replaced", "add them to plugins: the list replaces APISIX's own")
def plugins_replaced(site: Site) -> Iterator[Wrong]:
    used = {plugin for one in site.resources for plugin in one.plugins}
    for name, root in site.settings.items():
        listed = _listed(root)
        if listed and (absent := sorted(used - listed - {PLUGIN})):
            yield Wrong(name, root, "plugins", f"routes use {', '.join(absent)}, which the list of plugins does not name")


@RULES.rule("prometheus", "add prometheus to plugins")
def prometheus(site: Site) -> Iterator[Wrong]:
    """Since 3.14, the first whose answers come by the plugin."""
    for name, root in site.settings.items():
        listed = _listed(root)
        if site.version >= HOOK and (proxies := sorted(listed & set(AI_PROXIES))) and "prometheus" not in listed:
            what = f"APISIX does not load {' and '.join(proxies)} where the list of plugins does not name prometheus"
            yield Wrong(name, root, "plugins", f"{what}: routes with it are not there")


@RULES.rule("flush", 'set nginx_config: http_configuration_snippet: "postpone_output 0;", or take APISIX 3.16 or newer')
def flush(site: Site) -> Iterator[Wrong]:
    if not HOOK <= site.version < FLUSHES or not _reads_streams(site):
        return
    for name, root in site.settings.items():
        if not FLUSH.search(str(field(root, "nginx_config", "http_configuration_snippet") or "")):
            version = ".".join(map(str, site.version))
            what = f"APISIX {version} holds pieces of a stream back; the plugin refuses requests to ai-proxy there"
            yield Wrong(name, _nginx(root), "http_configuration_snippet", what)


def _reads_streams(site: Site) -> bool:
    """Also where the routes are not among the files."""
    routes = list(site.routes())
    return not routes or any(route.conf is not None and route.ai_proxy and not route.request_only for route in routes)


def _nginx(root: Node) -> Node:
    return root["nginx_config"] if isinstance(root.get("nginx_config"), Mapping) else root


@RULES.rule("body-limit", f"raise it to {BODY_LIMIT} (or set 0), and max_body_bytes of the plugin with it")
def body_limit(site: Site) -> Iterator[Wrong]:
    for name, root in site.settings.items():
        http = field(root, "nginx_config", "http")
        most = _bytes(field(http, "client_max_body_size"))
        if 0 < most < _largest_prompt(site):
            yield Wrong(name, http, "client_max_body_size", f"prompts over {most} bytes are refused with nginx's own 413")


def _largest_prompt(site: Site) -> int:
    told = [int(conf.get("max_body_bytes", BODY_LIMIT)) for _, conf in site.confs() if str(conf.get("max_body_bytes", 0)).isdigit()]
    return max(told, default=BODY_LIMIT)


def _bytes(value: Node) -> int:
    """nginx's spelling of a size: 0 for no limit, and for what is no size."""
    found = SIZE.fullmatch(str(value))
    return int(found[1]) * UNITS[found[2].lower()] if found else 0


@RULES.rule("end", "end the file with the line #END")
def end(site: Site) -> Iterator[Wrong]:
    for name in site.unended:
        yield Wrong(name, None, "", "APISIX does not read a file of standalone mode that does not end with #END")


@RULES.rule("block-style", "write mappings and lists line by line, or take a newer APISIX")
def block_style(site: Site) -> Iterator[Wrong]:
    if site.version > BLOCK_STYLE:
        return
    for name, root in site.roots.items():
        if (node := _flow(root)) is not None:
            yield Wrong(name, node, "", "APISIX up to 3.9 misreads mappings and lists in one line ({…}, […])")


def _flow(node: Node) -> Node:
    """The first mapping or list with something in it that stands in one line."""
    children = list(node.values()) if isinstance(node, Mapping) else list(node) if isinstance(node, list) else []
    if children and getattr(node, "fa", None) is not None and node.fa.flow_style():
        return node
    return next((found for child in children if (found := _flow(child)) is not None), None)
