"""All of a roster, page by page."""

from collections.abc import AsyncIterator

from headrace.ext_proc.core.ports import Store
from headrace.ext_proc.core.roster import Listed


async def everyone(store: Store, roster: str, after: int = 0) -> AsyncIterator[Listed]:
    """The records that were changed after revision `after`, in the order of their last change. Raises StoreUnavailable."""
    while page := await store.listed_since(roster, after):
        for listed in page:
            yield listed
        after = page[-1].revision
