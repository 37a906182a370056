"""Heavy work off the event loop, in a bounded pool of threads: tokenisers and pattern engines release the GIL."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar, TypeVarTuple

from headrace.ext_proc.core.errors import HeadraceError

Result = TypeVar("Result")
Args = TypeVarTuple("Args")


class Overloaded(HeadraceError):
    """More heavy work is waiting than the pool takes."""


class ThreadOffload:
    """`threads` at work and at most `waiting` more jobs; a job beyond that is refused, so that memory stays bounded."""

    def __init__(self, threads: int = 2, waiting: int = 256) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="headrace-offload")
        self._most = threads + waiting
        self._lock = threading.Lock()
        self.pending = 0

    async def run(self, fn: Callable[[*Args], Result], *args: *Args) -> Result:
        """`fn(*args)`. Raises Overloaded, and whatever `fn` raises.

        A job whose caller gives up still counts until it has run: it still holds its thread, or its place and its arguments.
        """
        if self.pending >= self._most:
            raise Overloaded(f"{self.pending} heavy jobs are waiting")
        with self._lock:
            self.pending += 1
        job = self._pool.submit(fn, *args)
        job.add_done_callback(self._done)
        return await asyncio.shield(asyncio.wrap_future(job))

    def _done(self, _: object) -> None:
        """Called in the thread that ran the job."""
        with self._lock:
            self.pending -= 1

    def close(self) -> None:
        """Waits for the job at work, drops those that wait."""
        self._pool.shutdown(wait=True, cancel_futures=True)
