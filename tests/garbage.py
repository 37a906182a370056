"""What only a collection frees: exchanges make none of it, or callers would wait for the collector."""

import gc
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

PACKAGE = "headrace."


@contextmanager
def no_garbage() -> Iterator[None]:
    """Nothing of ours that is made within it is left to the garbage collector, which rests meanwhile."""
    gc.disable()
    gc.freeze()  # what was there before is not looked at
    try:
        yield
        found = _collected()
    finally:
        gc.unfreeze()
        gc.enable()
    assert not found, f"in cycles: {found}"


def _collected() -> Counter[str]:
    """Types of ours that a collection finds, and how many of each."""
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        gc.collect()
        return Counter(str(type(each)) for each in gc.garbage if type(each).__module__.startswith(PACKAGE))
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
