"""What the service says of its store when it starts."""

import logging
from typing import Final

from headrace.ext_proc.core.ports import Store, StoreUnavailable
from headrace.ext_proc.service.slot import StartError

log = logging.getLogger(__name__)

PASSING: Final = ("OOM", "READONLY", "MISCONF", "NOREPLICAS", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN", "LOADING", "BUSY")
"""How the error replies of servers begin that will take our calls when somebody has looked after them."""
_REFUSED: Final = "the store refused: "


async def check(store: Store) -> None:
    """Return where the store answers; and, after a warning, where it is away, because the policy says what happens then.

    Raises StartError where it refuses for good: an old server, one that does not let us in.
    """
    try:
        await store.ping()
    except StoreUnavailable as error:
        if _is_lasting(str(error)):
            raise StartError([f"the store does not answer: {error}; is it new enough, and is --store right?"]) from None
        log.warning("starting without the store", extra={"detail": f"{error}; is it running, and is --store right?"})


def _is_lasting(why: str) -> bool:
    return why.startswith(_REFUSED) and not why.removeprefix(_REFUSED).startswith(PASSING)
