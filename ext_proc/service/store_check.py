"""What the service says of its store when it starts."""

import asyncio
import logging
from contextlib import suppress
from typing import Final, Protocol, runtime_checkable

from headrace.ext_proc.core.ports import REFUSED, Store, StoreUnavailable
from headrace.ext_proc.service.slot import StartError

log = logging.getLogger(__name__)

PASSING: Final = ("OOM", "READONLY", "MISCONF", "NOREPLICAS", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN", "LOADING", "BUSY")
"""How the error replies of servers begin that will take our calls when somebody has looked after them."""
AGAIN_S: Final = 1.0
"""Between two questions to a store that is away."""


@runtime_checkable
class Server(Protocol):
    """A store that may be told to drop what it holds."""

    async def evicts(self) -> str:
        """By which policy; empty for none. Raises StoreUnavailable."""
        ...


async def check(store: Store) -> None:
    """Return where the store answers; and, after a warning, where it is away, because the policy says what happens then.

    Raises StartError where it refuses for good: an old server, one that does not let us in.
    """
    try:
        await store.ping()
    except StoreUnavailable as error:
        said = str(error).removesuffix(".")
        if _is_lasting(said):
            raise StartError([f"{said}; is it new enough, and is --store right, with its password?"]) from None
        log.warning("starting without the store", extra={"detail": f"{said}; is it running, and is --store right?"})


def _is_lasting(why: str) -> bool:
    return why.startswith(REFUSED) and not why.removeprefix(REFUSED).startswith(PASSING)


async def warn_of_eviction(store: Store) -> None:
    """A warning, once the store answers, where it may drop counters: every budget that it drops begins anew."""
    if not isinstance(store, Server):
        return
    while True:
        with suppress(StoreUnavailable):
            policy = await store.evicts()
            break
        await asyncio.sleep(AGAIN_S)
    if policy:
        message = "the store drops budgets and keys when it is full: set its maxmemory-policy to noeviction"
        log.warning(message, extra={"policy": policy})
