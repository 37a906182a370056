"""Memory that the C library keeps after it was freed."""

import ctypes
import sys
from functools import cache
from typing import Any


def give_back() -> None:
    """Gives the system what nobody uses any more, where the C library is glibc. A few milliseconds."""
    if (trim := _trim()) is not None:
        trim(0)


@cache
def _trim() -> Any:
    """malloc_trim(3), or None. Looked up once: a library of ctypes is a type of its own, in cycles."""
    return getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
