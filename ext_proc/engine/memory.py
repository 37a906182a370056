"""Memory that the C library keeps after it was freed."""

import ctypes
import sys


def give_back() -> None:
    """Gives the system what nobody uses any more, where the C library is glibc. A few milliseconds."""
    if sys.platform == "linux" and (trim := getattr(ctypes.CDLL(None), "malloc_trim", None)) is not None:
        trim(0)
