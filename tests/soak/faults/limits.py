"""What the kernel refuses a running process: files that grow, and descriptors. No root is needed for one's own processes."""

import contextlib
import resource
from collections.abc import Iterator, Sequence
from pathlib import Path


@contextlib.contextmanager
def no_growing_files(pids: Sequence[int]) -> Iterator[None]:
    """No regular file takes another byte from these processes: EFBIG, where a full disk says ENOSPC. Sockets and pipes do."""
    with _limited(resource.RLIMIT_FSIZE, dict.fromkeys(pids, 0)):
        yield


@contextlib.contextmanager
def few_descriptors(pids: Sequence[int], spare: int) -> Iterator[None]:
    """Each process may open so many more files and sockets than it has open: then EMFILE."""
    with _limited(resource.RLIMIT_NOFILE, {pid: highest + 1 + spare for pid in pids if (highest := _highest(pid)) is not None}):
        yield


def descriptors(pid: int) -> int:
    """How many a process has open; 0 for one that has ended."""
    return len(_open(pid))


def _open(pid: int) -> Sequence[int]:
    with contextlib.suppress(OSError):
        return [int(entry.name) for entry in Path(f"/proc/{pid}/fd").iterdir()]
    return []


def _highest(pid: int) -> int | None:
    """The limit is one above the highest number there may be, not a count."""
    return max(_open(pid), default=None)


@contextlib.contextmanager
def _limited(what: int, limits: dict[int, int]) -> Iterator[None]:
    """The soft limits, put back afterwards as they were; processes that end meanwhile are left out."""
    before: dict[int, tuple[int, int]] = {}
    try:
        for pid, limit in limits.items():
            with contextlib.suppress(ProcessLookupError):
                soft, hard = resource.prlimit(pid, what)
                before[pid] = resource.prlimit(pid, what, (limit, hard))
                assert before[pid] == (soft, hard)
        yield
    finally:
        for pid, limits_before in before.items():
            with contextlib.suppress(ProcessLookupError):
                resource.prlimit(pid, what, limits_before)
