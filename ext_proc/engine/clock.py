"""The wall clock."""

from time import time_ns


class SystemClock:
    """The machine's wall time."""

    def now_ms(self) -> int:
        return time_ns() // 1_000_000
