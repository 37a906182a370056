"""The servers that a store's URL stands for, and how they are connected to."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

from redis.asyncio.connection import ConnectionPool, parse_url
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import SentinelConnectionPool
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from headrace.ext_proc.stores.link import Link
from headrace.ext_proc.stores.nodes import Address, Cluster, Copies, Nodes, OneServer
from headrace.ext_proc.stores.sentinels import Sentinels

Options = Mapping[str, Any]
"""Of a connection, as redis-py's parse_url makes them of a URL."""

_EVERY = ("client_name", "db", "password", "username")
_TCP = (*_EVERY, "socket_keepalive")
_TLS = (
    *_TCP,
    *("ssl_ca_certs", "ssl_ca_data", "ssl_ca_path", "ssl_cert_reqs", "ssl_certfile", "ssl_check_hostname", "ssl_ciphers"),
    *("ssl_exclude_verify_flags", "ssl_include_verify_flags", "ssl_keyfile", "ssl_min_version", "ssl_password"),
)
QUERY: Final = {"unix": _EVERY, "redis": _TCP, "rediss": _TLS}
"""Options of redis-py that a URL may have, by its scheme: others are no text, or a Link's own."""


def nodes_of(url: str, *, timeout_s: float) -> Nodes:
    """The servers a store's URL stands for. Raises ValueError for one that is none.

    redis+cluster://HOST:PORT,HOST:PORT and redis+sentinel://HOST:PORT,HOST:PORT/SERVICE name nodes to begin with, with
    `user:password@` before them where the servers want it; rediss+… for TLS. IPv6 addresses are in brackets. A URL of one server is
    redis-py's. With `replicas=1` in the query a write counts as done when one replica has it (WAIT), so that its promotion loses
    nothing that was answered; Sentinels are shown `sentinel_username` and `sentinel_password`. What else may be in it is in QUERY.
    """
    location, _, query = url.partition("?")
    given = dict(parse_qsl(query))
    copies = Copies(_number(given.pop("replicas", "0")), int(timeout_s * 800))
    scheme, _, kind = location.partition("://")[0].lower().partition("+")
    if not kind:
        return OneServer(link_to(_options(location, given), timeout_s=timeout_s), copies, timeout_s=timeout_s)
    credentials, addresses, path = _split(location)
    if kind == "cluster":
        return _cluster(addresses, _options(f"{scheme}://{credentials}any", given), copies, timeout_s)
    login = {name: given.pop(f"sentinel_{name}", None) for name in ("username", "password")}
    options = _options(f"{scheme}://{credentials}any", given)
    sentinels = Sentinels(addresses, {**_asking(options, timeout_s / (len(addresses) + 1)), **login})
    return OneServer(_named(path, sentinels, options, timeout_s), copies, timeout_s=timeout_s, sentinels=sentinels.sentinels)


def link_to(options: Options, *, timeout_s: float) -> Link:
    """A link to the server that the options name. Raises ValueError for values that redis-py does not know."""
    return _link(ConnectionPool(**_carrying(options, timeout_s)), timeout_s)


def _cluster(addresses: Sequence[Address], options: Options, copies: Copies, timeout_s: float) -> Cluster:
    def to(address: Address) -> Link:
        return link_to({**options, "host": address[0], "port": address[1]}, timeout_s=timeout_s)

    to(addresses[0])  # so that values which redis-py does not know are seen at once
    return Cluster(addresses, to, copies, timeout_s=timeout_s)


def _named(service: str, sentinels: Sentinels, options: Options, timeout_s: float) -> Link:
    """A link that asks the Sentinels for the primary whenever it connects."""
    if not service:
        raise ValueError("store URL: redis+sentinel:// wants the service's name after the hosts: redis+sentinel://host:26379/main")
    shared = {name: value for name, value in _carrying(options, timeout_s).items() if name not in ("host", "connection_class")}
    tls = "connection_class" in options
    return _link(SentinelConnectionPool(service, sentinels, ssl=tls, **shared), timeout_s)  # type: ignore[no-untyped-call]


def _asking(options: Options, timeout_s: float) -> Options:
    """To connect to a Sentinel by: TLS as to the servers, and no second attempt, so that those that are silent leave time for the
    next one, and for the primary.
    """
    tls = {name: value for name, value in options.items() if name == "connection_class" or name.startswith("ssl_")}
    return {**tls, "protocol": 2, "socket_connect_timeout": timeout_s, "socket_timeout": timeout_s, "retry": Retry(NoBackoff(), 0)}


def _carrying(options: Options, timeout_s: float) -> Options:
    """What a Link goes by, whatever a URL says; its time-outs are its own."""
    ours = {"protocol": 2, "decode_responses": False, "driver_info": None, "socket_timeout": None}
    return {**options, **ours, "socket_connect_timeout": timeout_s}


def _link(pool: ConnectionPool, timeout_s: float) -> Link:
    try:
        pool.make_connection()  # type: ignore[no-untyped-call]
    except RedisError as error:
        raise ValueError(f"store URL: {error}") from None
    return Link(pool.make_connection, timeout_s=timeout_s)


def _options(location: str, query: Mapping[str, str]) -> Options:
    """Raises ValueError for a location that redis-py cannot read, options that are not known, and files that are not there."""
    server, known = parse_url(location), QUERY[location.partition("://")[0].lower()]
    if unknown := next((name for name in query if name not in known), None):
        raise ValueError(f"store URL: {unknown!r} is none of replicas, {', '.join(known)}")
    try:
        options: Options = {**server, **parse_url(f"{location}?{urlencode(query)}")}
    except ValueError as error:
        raise ValueError(f"store URL: {error}") from None
    for name in ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile"):
        if name in options and not Path(options[name]).is_file():
            raise ValueError(f"store URL: {name}: there is no file {options[name]}")
    return options


def _split(location: str) -> tuple[str, Sequence[Address], str]:
    """Of SCHEME://USER:PASSWORD@HOST:PORT,HOST:PORT/PATH, `USER:PASSWORD@`, the addresses and the path."""
    hosts, _, path = location.partition("://")[2].partition("/")
    credentials, at, hosts = hosts.rpartition("@")
    return credentials + at, [_address(host) for host in hosts.split(",")], unquote(path.strip("/"))


def _address(host: str) -> Address:
    try:
        parts = urlsplit(f"//{host.strip()}")
        name, port = parts.hostname, parts.port
    except ValueError:
        name = port = None
    if not name or not port:
        raise ValueError("store URL: after redis+cluster:// or redis+sentinel:// come HOST:PORT,HOST:PORT; IPv6 as in [::1]:6379")
    return name, port


def _number(text: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise ValueError("store URL: replicas is a number, 0 or more")
    return int(text)
