"""How many files and sockets a process may have open: many systems begin with 1024, and give more to a process that asks."""

import contextlib
import resource
from typing import Final

WANTED: Final = 32_768
"""A worker takes 20,000 connections (`envoy/h2/limits.py`); what is left is for its files, its store and its peers."""


def allow_many() -> None:
    """This process, and those it starts, may open as many as it wants, or as the hard limit allows. Raises nothing."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = WANTED if hard == resource.RLIM_INFINITY else min(WANTED, hard)
    if soft != resource.RLIM_INFINITY and soft < allowed:
        with contextlib.suppress(OSError, ValueError):  # not in every sandbox
            resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
