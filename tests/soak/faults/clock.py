"""A wall clock that is put forward and back under running processes, by Debian's libfaketime; their monotonic clock goes on."""

from collections.abc import Mapping
from pathlib import Path

LIBRARY = next(iter(sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))), None)
"""None where the package libfaketime is not installed."""
MISSING = "libfaketime is not installed: apt-get install libfaketime"
LAG_S = 1.0
"""For so long a process may go by the clock as it was: reading the file at every look would cost more than the service does."""


class SteppedClock:
    """Of every process that is started with `environment`, their children included. Without a step it is the machine's.

    offset_s: by how much it is ahead of the machine's. The file is in `folder`, which must outlive the processes.
    """

    def __init__(self, folder: Path) -> None:
        self._file = folder / "clock"
        self.offset_s = 0
        self.step(0)

    @property
    def environment(self) -> Mapping[str, str]:
        assert LIBRARY is not None, MISSING
        return {
            "LD_PRELOAD": str(LIBRARY),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "FAKETIME_CACHE_DURATION": f"{LAG_S:.0f}",
        }

    def step(self, seconds: int) -> None:
        """Put it forward, or back where `seconds` is negative; seen by every process within LAG_S."""
        self.offset_s += seconds
        new = self._file.with_suffix(".new")
        new.write_text(f"{self.offset_s:+d}\n")
        new.replace(self._file)

    def right(self) -> None:
        """The machine's time again."""
        self.step(-self.offset_s)
