"""A wall clock that is put forward and back under running Python processes; their monotonic clock goes on.

It steps what Python reads as `time.time` and `time.time_ns`, which the service's clock is made of. libfaketime would step the C
library's, and takes four times the service's processor time for it.
"""

import os
import struct
from collections.abc import Mapping
from pathlib import Path

OFFSET = struct.Struct("q")
"""The file: nanoseconds by which the clock is ahead."""
VARIABLE = "SOAK_CLOCK"
MODULE = '''"""Puts the wall clock of this process forward or back by what a file says, for whoever imports `time` from now on."""

import mmap
import os
import struct
import time

with open(os.environ["SOAK_CLOCK"], "rb") as _file:
    _offset = memoryview(mmap.mmap(_file.fileno(), 8, prot=mmap.PROT_READ)).cast("q")
_seconds, _nanoseconds = time.time, time.time_ns
time.time = lambda: _seconds() + _offset[0] / 1e9
time.time_ns = lambda: _nanoseconds() + _offset[0]
'''


class SteppedClock:
    """Of every Python process that is started with `environment`, their children included. Without a step it is the machine's.

    offset_s: by how much it is ahead of the machine's. The files are in `folder`, which must outlive the processes.
    """

    def __init__(self, folder: Path) -> None:
        self._file, self._modules = folder / "clock", folder / "clock-modules"
        self._modules.mkdir()
        (self._modules / "sitecustomize.py").write_text(MODULE)
        self._file.write_bytes(OFFSET.pack(0))
        self.offset_s = 0

    @property
    def environment(self) -> Mapping[str, str]:
        paths = [str(self._modules), *filter(None, [os.environ.get("PYTHONPATH")])]
        return {VARIABLE: str(self._file), "PYTHONPATH": os.pathsep.join(paths)}

    def step(self, seconds: int) -> None:
        """Put it forward, or back where `seconds` is negative; seen by every process at once."""
        self.offset_s += seconds
        with self._file.open("r+b") as file:
            file.write(OFFSET.pack(self.offset_s * 10**9))

    def right(self) -> None:
        """The machine's time again."""
        self.step(-self.offset_s)
