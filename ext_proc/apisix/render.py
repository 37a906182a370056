"""APISIX's configuration for a policy: conf/config.yaml, the resources of standalone mode, and the same through the Admin API."""

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final
from urllib.parse import quote as quoted_path

from headrace.ext_proc.apisix.kinds import RouteKind
from headrace.ext_proc.apisix.settings import LLM_PATHS, PLUGIN, ApisixSettings, Server
from headrace.ext_proc.envoy.config.yaml import dump, quoted

Tree = Mapping[str, Any]

END: Final = "#END\n"
"""Without this last line APISIX does not read conf/apisix.yaml."""

CONFIG_HEADER: Final = """\
# For conf/config.yaml. `plugins` replaces APISIX's own list: put these names into yours.
"""
NGINX: Final = """\
# APISIX 3.14 and 3.15 hold pieces of a stream back without it; later ones do not need it.
postpone_output 0;
# Without it, a caller that has left a stream is noticed at the stream's next piece.
lua_check_client_abort on;
"""

AI_PROXY_NEEDS: Final = ("ai-proxy-multi", "prometheus")
"""APISIX does not load an ai-proxy without the memory that the list's `prometheus` gets."""

STANDALONE_HEADER: Final = "# conf/apisix.yaml of APISIX's standalone mode.\n"

ADMIN_HEADER: Final = """\
#!/bin/sh
# The same through the Admin API, for APISIX with etcd. APISIX_ADMIN: such as http://127.0.0.1:9180; APISIX_ADMIN_KEY: its key.
set -eu

put() {
    curl --fail-with-body -sS -X PUT "$APISIX_ADMIN/apisix/admin/$1" -H "X-API-KEY: $APISIX_ADMIN_KEY" -d @- -o /dev/null
}
"""


def render_config(settings: ApisixSettings) -> str:
    """What conf/config.yaml must have."""
    tree = {
        "apisix": {"extra_lua_path": settings.lua_path},
        "plugins": ["key-auth", *(AI_PROXY_NEEDS if settings.kind is RouteKind.AI_PROXY else ()), PLUGIN],
        "nginx_config": {"http_configuration_snippet": NGINX},
    }
    return CONFIG_HEADER + _yaml(tree)


def render_standalone(settings: ApisixSettings) -> str:
    """conf/apisix.yaml as a whole."""
    resources: dict[str, list[Tree]] = {}
    for kind, resource in resources_of(settings):
        resources.setdefault(kind, []).append(resource)
    return STANDALONE_HEADER + _yaml(resources) + END


def render_admin(settings: ApisixSettings) -> str:
    """A shell script that puts every resource."""
    parts = [ADMIN_HEADER]
    for kind, resource in resources_of(settings):
        body = {name: value for name, value in resource.items() if name != "id"}
        parts.append(f"put {kind}/{quoted_path(resource['id'])} <<'JSON'\n{json.dumps(body, indent=2)}\nJSON\n")
    return "\n".join(parts)


def resources_of(settings: ApisixSettings) -> Iterator[tuple[str, Tree]]:
    """Kind (as the Admin API calls it) and resource, those that others name first."""
    for server in settings.servers:
        yield "upstreams", _upstream(server)
    if settings.kind is RouteKind.AI_PROXY:
        yield "routes", _ai_route(settings)
    yield "routes", _plain_route(settings)


def _plugin(settings: ApisixSettings) -> Tree:
    """A route of the policy is the upstream, or the instance, of its own name: no map is needed."""
    mode = {"request_only": True} if settings.request_only else {}
    return {"service": [str(address) for address in settings.service], **mode}


def _upstream(server: Server) -> Tree:
    """A model may think for minutes before its first token."""
    return {
        "id": server.name,
        "type": "roundrobin",
        "scheme": server.scheme,
        "pass_host": "node",
        "nodes": [{"host": server.host, "port": server.port, "weight": 1}],
        "timeout": {"connect": 5, "send": 600, "read": 600},
    }


def _ai_route(settings: ApisixSettings) -> Tree:
    instances = [_instance(server) for server in settings.servers]
    proxy = {"instances": instances, "timeout": 600_000, "ssl_verify": True}
    return {
        "id": "headrace-models",
        "uris": list(LLM_PATHS),
        "methods": ["POST"],
        "plugins": {"ai-proxy-multi": proxy, PLUGIN: _plugin(settings)},
    }


def _instance(server: Server) -> Tree:
    """`auth` must be there; a credential goes into it, such as header: {Authorization: Bearer $ENV://KEY}."""
    return {
        "name": server.name,
        "provider": "openai-compatible",
        "weight": 1,
        "auth": {},
        "override": {"endpoint": server.url},
    }


def _plain_route(settings: ApisixSettings) -> Tree:
    """Everything else, and with plain routes everything."""
    return {
        "id": "headrace-rest" if settings.kind is RouteKind.AI_PROXY else "headrace-models",
        "uri": "/v1/*",
        "upstream_id": settings.servers[0].name,
        "plugins": {**_unbuffered(settings), PLUGIN: _plugin(settings)},
    }


def _unbuffered(settings: ApisixSettings) -> Tree:
    """In request-only mode nginx itself passes streams on; it would hold them back."""
    return {"proxy-buffering": {"disable_proxy_buffering": True}} if settings.request_only else {}


def _yaml(tree: Tree) -> str:
    from ruamel.yaml.scalarstring import LiteralScalarString

    found = dict(quoted(tree))
    if "nginx_config" in found:
        found["nginx_config"] = {"http_configuration_snippet": LiteralScalarString(NGINX)}
    return dump(found)
