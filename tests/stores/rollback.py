"""A roster as a store has it that comes back without its last writes."""

from collections.abc import Awaitable, Callable
from copy import deepcopy
from typing import Any

from hiredis import pack_command

from headrace.ext_proc.core.ports import Store
from headrace.ext_proc.stores.memory import MemoryStore
from headrace.ext_proc.stores.redis import RedisStore
from headrace.ext_proc.stores.wire import roster_keys

Rollback = Callable[[], Awaitable[None]]


async def remembered(store: Store, roster: str) -> Rollback:
    """What the roster is now; called, it is that again."""
    if isinstance(store, MemoryStore):
        return _of_memory(store, roster)
    assert isinstance(store, RedisStore)
    dumps = {key: await sent(store, "DUMP", key) for key in roster_keys(roster)}

    async def restore() -> None:
        for key, dump in dumps.items():
            await sent(store, "DEL", key)
            if dump is not None:
                await sent(store, "RESTORE", key, 0, dump)

    return restore


def _of_memory(store: MemoryStore, roster: str) -> Rollback:
    then = deepcopy(store._rosters[roster])

    async def restore() -> None:
        store._rosters[roster] = deepcopy(then)

    return restore


async def without_marks(store: Store, roster: str) -> None:
    """As a release leaves it that knows of no marks."""
    if isinstance(store, MemoryStore):
        store._rosters[roster]._marks.clear()
    else:
        assert isinstance(store, RedisStore)
        await sent(store, "DEL", roster_keys(roster)[2])


async def sent(store: RedisStore, command: str, key: str, *rest: Any) -> Any:
    return await store._nodes.call(key, pack_command((command, key, *rest)))
