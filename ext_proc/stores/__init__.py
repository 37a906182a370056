"""Stores: Redis or Valkey (a server, a cluster, Sentinel's primary), a server of our own, or this process's memory."""

from headrace.ext_proc.core.ports import Store
from headrace.ext_proc.stores.memory import MemoryStore

_SERVERS = ("unix", "redis", "rediss", "redis+cluster", "rediss+cluster", "redis+sentinel", "rediss+sentinel")


def open_store(url: str, *, timeout_s: float | None = None) -> Store:
    """The store at `url`: one of _SERVERS for servers, see nodes_of; memory:// for this process alone.

    Connects when it is first used. timeout_s: bounds one attempt to connect and one reply; None for TIMEOUT_S. Raises ValueError
    for any other URL; the message does not repeat it, it may hold a password.
    """
    scheme = url.partition("://")[0].lower() if "://" in url else ""
    if scheme == "memory":
        return MemoryStore()
    if scheme not in _SERVERS:
        said = f"{scheme!r} is none of" if scheme else "has no scheme, as redis://127.0.0.1:6379 has; there is"
        raise ValueError(f"store URL: {said} {', '.join(_SERVERS)}")
    from headrace.ext_proc.stores.redis import TIMEOUT_S, RedisStore  # 60 modules, which no policy is compiled with

    try:
        return RedisStore(url, timeout_s=TIMEOUT_S if timeout_s is None else timeout_s)
    except ValueError as error:
        own = str(error).startswith("store URL: ")
        raise ValueError(str(error) if own else _UNREADABLE) from None


_UNREADABLE = "store URL: host and port cannot be read; a password's : / ? # are written %3A %2F %3F %23"
