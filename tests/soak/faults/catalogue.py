"""The faults of a run, and the splicer that their proxies are."""

from collections.abc import Sequence

from tests.soak.faults.base import Direct, Fault, Splicer


def faults() -> tuple[Sequence[Fault], Splicer]:
    """Fresh instances. The splicer is shared with the faults that steer it."""
    return (), Direct()
