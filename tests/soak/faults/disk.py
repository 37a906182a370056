"""A disk of its own for one directory, which is full whenever that is wanted."""

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

NEEDS_ROOT = "mounting a tmpfs takes root"
MEGABYTES = 2048
"""While it is not full. Memory is taken for what is written, no more."""
TRIES = 20


def may_mount() -> bool:
    return os.geteuid() == 0


class SmallDisk:
    """A tmpfs at `folder`, from mount() to unmount(). Full means that it is made as small as what it holds."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def mount(self) -> None:
        """Raises OSError where that is not allowed."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _run("mount", "-t", "tmpfs", "-o", f"size={MEGABYTES}m,mode=700", "headrace-soak", str(self.folder))

    def unmount(self) -> None:
        """Lazily: a process that still has a file open there does not hold it up."""
        _run("umount", "--lazy", str(self.folder))

    @contextlib.contextmanager
    def full(self) -> Iterator[None]:
        """No file there gets another page, ENOSPC; what is left of its last page it may fill."""
        self._fill()
        try:
            yield
        finally:
            self._resize(MEGABYTES << 20)

    def _fill(self) -> None:
        """Again where somebody has written between the look and the change: a file system does not become smaller than that."""
        for _ in range(TRIES):
            with contextlib.suppress(OSError):
                self._resize(self._used())
                return
        self._resize(self._used())

    def _used(self) -> int:
        """Bytes, one page at least: a size of 0 means that there is no limit."""
        status = os.statvfs(self.folder)
        return max(status.f_blocks - status.f_bfree, 1) * status.f_frsize

    def _resize(self, size: int) -> None:
        _run("mount", "-o", f"remount,size={size}", str(self.folder))


def _run(*command: str) -> None:
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    if ended.returncode:
        raise OSError(f"{' '.join(command)}: {ended.stderr.strip()}")
