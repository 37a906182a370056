"""Redis Sentinels, who say which server is the primary."""

from collections.abc import Mapping, Sequence
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.connection import ConnectionPool
from redis.asyncio.sentinel import MasterNotFoundError, Sentinel
from redis.exceptions import RedisError

from headrace.ext_proc.stores.nodes import Address, shown


class Sentinels(Sentinel):
    """Asked in turn, first the one that answered last; what each of them said is in the error."""

    def __init__(self, addresses: Sequence[Address], options: Mapping[str, Any]) -> None:
        """options: of ConnectionPool, but for host and port."""
        super().__init__([])  # type: ignore[no-untyped-call]
        self.sentinels: list[Redis] = [Redis.from_pool(ConnectionPool(**options, host=host, port=port)) for host, port in addresses]

    async def discover_master(self, service_name: str) -> Address:
        """The primary's address. Raises MasterNotFoundError."""
        said = []
        for place, sentinel in enumerate(self.sentinels):
            try:
                masters: Any = await sentinel.sentinel_masters()
            except (RedisError, OSError) as error:
                said.append(f"{_name(sentinel)}: {str(error) or type(error).__name__}")
                continue
            state = masters.get(service_name)
            if state and self.check_master_state(state, service_name):
                self.sentinels[0], self.sentinels[place] = sentinel, self.sentinels[0]
                return state["ip"], state["port"]
            said.append(f"{_name(sentinel)}: it knows no primary {service_name!r} that is up")
        raise MasterNotFoundError("; ".join(said))


def _name(sentinel: Redis) -> str:
    found = sentinel.connection_pool.connection_kwargs
    return shown((found["host"], found["port"]))
