"""What `ps -o comm` and `top` call the processes of a service: the command line of a forked worker is that of its fork server."""

import contextlib
from pathlib import Path

WORKER = "headrace-worker"
FORK_SERVER = "headrace-fork"
"""Linux keeps 15 characters."""


def call_it(name: str) -> None:
    """Names this process, where that can be done."""
    with contextlib.suppress(OSError):
        Path("/proc/self/comm").write_text(name)
