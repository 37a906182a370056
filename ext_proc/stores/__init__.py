"""Stores: Redis or Valkey (a server, a cluster, Sentinel's primary), a server of our own, or this process's memory."""

from urllib.parse import urlsplit

from headrace.ext_proc.core.ports import Store
from headrace.ext_proc.stores.memory import MemoryStore

_SERVERS = ("unix", "redis", "rediss", "redis+cluster", "rediss+cluster", "redis+sentinel", "rediss+sentinel")


def open_store(url: str, *, timeout_s: float | None = None) -> Store:
    """The store at `url`: one of _SERVERS for servers, see nodes_of; memory:// for this process alone.

    Connects when it is first used. timeout_s: bounds one attempt to connect and one reply; None for TIMEOUT_S. Raises ValueError
    for any other URL; the message does not repeat it, it may hold a password.
    """
    scheme = urlsplit(url).scheme
    if scheme == "memory":
        return MemoryStore()
    if scheme not in _SERVERS:
        raise ValueError(f"store URL: {scheme or 'no scheme'!r} is none of memory, {', '.join(_SERVERS)}")
    from headrace.ext_proc.stores.redis import TIMEOUT_S, RedisStore  # 60 modules, which no policy is compiled with

    return RedisStore(url, timeout_s=TIMEOUT_S if timeout_s is None else timeout_s)
