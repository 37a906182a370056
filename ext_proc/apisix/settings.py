"""What an APISIX in front of a policy's upstreams is told."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from headrace.ext_proc.apisix.kinds import RouteKind
from headrace.ext_proc.core.errors import HeadraceError
from headrace.ext_proc.envoy.config.settings import Address

PLUGIN = "headrace"
LUA_PATH = "/opt/headrace/apisix/lua/?.lua"
"""Where the examples suppose the plugin to be."""
BODY_LIMIT = 16 * 1024 * 1024
"""Bytes of a prompt: the plugin's default."""
LLM_PATHS = ("/v1/chat/completions", "/v1/responses", "/v1/embeddings")
"""What ai-proxy's provider openai-compatible serves."""
LOOPBACK = ("127.0.0.1", "localhost", "::1")
PORTS = {"http": 80, "https": 443}


class ApisixError(HeadraceError):
    """Something that no APISIX configuration can say; the message says what would be right."""


@dataclass(frozen=True)
class Server:
    """An upstream: `scheme`://`host`:`port`."""

    name: str
    scheme: str
    host: str
    port: int

    @property
    def url(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"


@dataclass(frozen=True)
class ApisixSettings:
    """service: where the workers listen. lua_path: of the plugin. request_only: answers never pass the service."""

    service: Sequence[Address]
    servers: Sequence[Server]
    kind: RouteKind = RouteKind.AI_PROXY
    lua_path: str = LUA_PATH
    request_only: bool = False


def servers_of(urls: Mapping[str, str]) -> tuple[Server, ...]:
    """urls: name → URL. Raises ApisixError for one whose path would have to be put before the request's."""
    return tuple(_server(name, url) for name, url in urls.items())


def _server(name: str, url: str) -> Server:
    parts = urlsplit(url)
    if parts.path.strip("/"):
        raise ApisixError(
            f"upstreams.{name}.url: {url!r} has a path, which APISIX does not put before the request's own; leave it out"
        )
    return Server(name, parts.scheme, parts.hostname or "", parts.port or PORTS[parts.scheme])


def checked_service(addresses: Sequence[Address]) -> Sequence[Address]:
    """Raises ApisixError for one that the plugin does not connect to: it speaks clear text, so it stays on its machine."""
    for address in addresses:
        if address.host is not None and address.host not in LOOPBACK and not address.host.startswith("127."):
            raise ApisixError(
                f"{address} is not on this machine, and the plugin speaks clear text; use unix:/path or 127.0.0.1:port"
            )
    return addresses
