"""Processes and stores that stand still for a while, and go on as if nothing had been."""

import contextlib
import os
import signal
from collections.abc import Iterator

from redis.asyncio import Redis

BUSY = "local till = os.clock() + ARGV[1] repeat until os.clock() >= till return 1"
"""The server's processor time, for its wall clock stands still while a script runs."""


@contextlib.contextmanager
def stopped(pid: int) -> Iterator[None]:
    """SIGSTOP, and SIGCONT afterwards. Its sockets take what is written to them, as far as their buffers go."""
    _signal(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        _signal(pid, signal.SIGCONT)


def _signal(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


async def pause(store: Redis, seconds: float) -> None:
    """The store takes commands for so long and carries out none; returns at once. Raises redis.RedisError."""
    await store.client_pause(int(seconds * 1000))


async def busy(store: Redis, seconds: float) -> None:
    """A script keeps the store from anything else; returns when it has ended. Raises redis.RedisError."""
    await store.eval(BUSY, 0, str(seconds))
