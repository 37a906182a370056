"""What a gateway in front of the service is made of; everything `headrace envoy config` needs, and nothing of the policy."""

import re
from ipaddress import ip_address
from typing import Final, Self
from urllib.parse import SplitResult, urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from headrace.ext_proc.envoy.config.names import BODY_LIMIT, CLUSTER, UsageReader

DEFAULT_PORTS: Final = {"http": 80, "https": 443}
UPSTREAM_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
UNIX_PATH_LIMIT: Final = 107
"""Bytes of a Unix socket's path on Linux, sun_path less its terminator."""
MAX_PORT: Final = 65535


class Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Address(Frozen):
    """A Unix socket (`path`) or a TCP address (`host`, `port`); exactly one of the two."""

    path: str | None = None
    host: str | None = None
    port: int = Field(default=0, ge=0, le=MAX_PORT)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `unix:/run/w0.sock`, `/run/w0.sock`, `127.0.0.1:9000`, `[::1]:9000` or `service:9000`; ValueError otherwise."""
        path = text.removeprefix("unix:")
        if path.startswith("/"):
            return cls(path=_fitting(path))
        host, colon, port = text.rpartition(":")
        if not (host and colon and port.isdecimal()):
            raise ValueError(f"{text!r} is neither host:port nor the absolute path of a Unix socket")
        if int(port) > MAX_PORT:
            raise ValueError(f"{text!r}: ports end at {MAX_PORT}")
        return cls(host=host.removeprefix("[").removesuffix("]"), port=int(port))

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if (self.path is None) == (self.host is None):
            raise ValueError("an address is either a path or a host")
        if self.path is not None:
            _fitting(self.path)
        return self

    @property
    def is_name(self) -> bool:
        """Whether the host has to be looked up in DNS."""
        return self.host is not None and not _is_ip(self.host)

    def __str__(self) -> str:
        if self.path is not None:
            return f"unix:{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in str(self.host) else f"{self.host}:{self.port}"


class Upstream(Frozen):
    """A model server: `url` is everything in front of the request's own path (`/v1/…`)."""

    name: str
    url: str
    host: str | None = None
    """Host header the upstream gets; the URL's own host and port when it is None."""

    servers: tuple[Address, ...] = ()
    """Where it listens, instead of at the URL's own host; the service picks one for each request."""

    @field_validator("name")
    @classmethod
    def _plain_name(cls, name: str) -> str:
        if not UPSTREAM_NAME.fullmatch(name):
            raise ValueError(f"{name!r}: an upstream's name has letters, digits, '.', '_' and '-', at most 63")
        if name == CLUSTER:
            raise ValueError(f"{name!r} is the name of the service's own cluster")
        return name

    @field_validator("url")
    @classmethod
    def _usable_url(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme not in DEFAULT_PORTS or not parts.hostname:
            raise ValueError(f"{url!r}: http:// or https:// and a host")
        if parts.query or parts.fragment or parts.username is not None:
            raise ValueError(f"{url!r}: neither credentials, nor a query, nor a fragment; they would not be sent")
        if parts.path.rstrip("/").endswith("/v1"):
            raise ValueError(f"{url!r}: without /v1, which is part of the request's own path")
        _ = parts.port  # raises ValueError when it is no port
        return url

    @property
    def _parts(self) -> SplitResult:
        return urlsplit(self.url)

    @property
    def tls(self) -> bool:
        return self._parts.scheme == "https"

    @property
    def address(self) -> Address:
        return Address(host=self._parts.hostname, port=self._parts.port or DEFAULT_PORTS[self._parts.scheme])

    @property
    def addresses(self) -> tuple[Address, ...]:
        return self.servers or (self.address,)

    @property
    def prefix(self) -> str:
        """Path in front of the request's own, without a slash at its end; empty when there is none."""
        return self._parts.path.rstrip("/")

    @property
    def authority(self) -> str:
        return self.host or self._parts.netloc


class Failover(Frozen):
    """What Envoy does where an upstream fails. Durations are seconds."""

    idle_timeout: float = Field(default=120.0, gt=0)
    """Silence allowed within an answer; before its first byte, the next upstream is asked."""

    ejection: float = Field(default=10.0, gt=0)
    """How long an upstream that fails again and again is left out, times the number of its ejections."""


class GatewaySettings(Frozen):
    """One Envoy in front of the service. Durations are seconds, sizes bytes."""

    upstreams: tuple[Upstream, ...] = Field(min_length=1)
    """The first one also gets every request that no routing decision was made for."""

    service: tuple[Address, ...] = Field(min_length=1)
    """One endpoint per worker of the service."""

    listen: Address = Address(host="127.0.0.1", port=10000)
    body_limit: int = Field(default=BODY_LIMIT, gt=0, lt=2**32)
    message_timeout: float = Field(default=5.0, gt=0)
    stream_idle_timeout: float = Field(default=600.0, gt=0)
    """Silence allowed before and within an answer; the OpenAI SDK gives up after 600 s too."""

    usage: UsageReader = UsageReader.GATEWAY

    failover: Failover | None = None
    """None: a request goes to one upstream, and what that answers is the answer."""

    attempts: bool = False
    """The service is called at every attempt too, for credentials, other models and other dialects."""

    admin: Address | None = None
    ca_file: str = "/etc/ssl/certs/ca-certificates.crt"

    @property
    def candidates(self) -> bool:
        """Whether the service says which upstreams a request may be sent to, and what each of them serves it with."""
        return self.attempts or self.failover is not None

    @property
    def picks(self) -> bool:
        """Whether the service picks single servers."""
        return any(upstream.servers for upstream in self.upstreams)

    @field_validator("upstreams")
    @classmethod
    def _distinct(cls, upstreams: tuple[Upstream, ...]) -> tuple[Upstream, ...]:
        names = [upstream.name for upstream in upstreams]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"two upstreams are called {', '.join(twice)}")
        return upstreams

    @field_validator("service")
    @classmethod
    def _resolvable_together(cls, service: tuple[Address, ...]) -> tuple[Address, ...]:
        check_endpoints(service)
        return service

    @field_validator("admin")
    @classmethod
    def _private(cls, admin: Address | None) -> Address | None:
        if admin is not None and admin.host is not None and not _is_loopback(admin.host):
            raise ValueError(f"{admin}: Envoy's admin interface has no access control; a Unix socket or a loopback address")
        return admin


def check_endpoints(service: tuple[Address, ...]) -> None:
    """ValueError for endpoints that one Envoy cluster cannot hold: it resolves all by DNS or none."""
    if any(address.is_name for address in service) and any(address.path for address in service):
        raise ValueError("Unix sockets and DNS names cannot be endpoints of one cluster")


def _fitting(path: str) -> str:
    """Raises ValueError for a path that no Unix socket can have."""
    if len(path.encode()) > UNIX_PATH_LIMIT:
        raise ValueError(f"{path}: a Unix socket's path has at most {UNIX_PATH_LIMIT} bytes")
    return path


def _is_ip(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _is_loopback(host: str) -> bool:
    return host == "localhost" or (_is_ip(host) and ip_address(host).is_loopback)
