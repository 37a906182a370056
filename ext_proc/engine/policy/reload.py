"""Reload: a compile in the background and a swap. A policy that does not compile changes nothing and is reported.

What is watched are directories, of the policy file and of the files it names: editors and Kubernetes replace files rather than
write to them, by a rename or by turning a link. Whether something happened is then asked of the files themselves, and
asked now and then without any notice too, because network file systems give none.
"""

import asyncio
import gc
import logging
from collections.abc import Callable, Iterable, Sequence
from contextlib import aclosing
from hashlib import sha256
from pathlib import Path

from headrace.ext_proc.engine.imports import deferred
from headrace.ext_proc.engine.policy.compile import Policy
from headrace.ext_proc.engine.policy.problems import PolicyErrors, Problem

with deferred("watchfiles.run"):  # programs that are run again, and multiprocessing for them
    from watchfiles import awatch

LOOK_ANYWAY_MS = 10_000  # for file systems without notices; a look reads small files
SETTLE_MS = 100  # an editor's several steps count as one change
SMALL = 1 << 20  # read to tell whether it changed: two writes within a tick of the clock, 4 ms, leave one time of change

log = logging.getLogger(__name__)
Signature = tuple[int, int, int, int, bytes] | None


class PolicyHolder:
    """The policy in force. An exchange reads `current` once and keeps what it got.

    problems: what was wrong with the last policy that was offered; empty when `current` is that policy.
    """

    def __init__(self, policy: Policy) -> None:
        self.current = policy
        self.problems: Sequence[Problem] = ()

    def accept(self, policy: Policy) -> None:
        """`policy` is in force from here on; exchanges that run keep theirs."""
        self.current, self.problems = policy, ()

    def refuse(self, problems: Sequence[Problem]) -> None:
        """Stay with the policy in force."""
        self.problems = problems


class Reloader:
    """Keeps a holder's policy up to date with its files.

    compile: the policy as its files are now; it may take seconds and is called on a thread. Raises PolicyErrors.
    report: told of each policy that was taken or refused, on the event loop.
    """

    def __init__(self, path: Path, compile: Callable[[], Policy], report: Callable[[Policy | PolicyErrors], None]) -> None:
        """Compiles the first policy. Raises PolicyErrors."""
        self._path, self._compile, self._report = path, compile, report
        self._looking = asyncio.Lock()
        seen = signatures([path])
        self.holder = PolicyHolder(compile())
        self._seen = signatures(self.holder.current.files) | seen

    async def run(self) -> None:
        """Follows the files until cancelled."""
        while True:
            try:
                await self.look()
                await self._watch(self._directories())
            except (OSError, RuntimeError, MemoryError) as error:  # a directory taken away; no watch, descriptor or thread left
                log.warning("policy files are not watched", extra={"error": str(error)})
                await asyncio.sleep(LOOK_ANYWAY_MS / 1000)

    async def _watch(self, directories: frozenset[Path]) -> None:
        """Looks at every notice; ends when other directories are to be watched."""
        notices = awatch(
            *directories,
            watch_filter=None,
            recursive=False,
            debounce=SETTLE_MS,
            rust_timeout=LOOK_ANYWAY_MS,
            yield_on_timeout=True,
        )
        async with aclosing(notices):
            async for _ in notices:
                await self.look()
                if self._directories() != directories:
                    return

    async def look(self) -> None:
        """Compiles and swaps if any of the files has changed. Looks of several callers follow each other."""
        async with self._looking:
            await self._look()

    async def _look(self) -> None:
        seen = signatures(self._seen)
        if seen == self._seen:
            return
        await self._offer(seen)
        # A policy that is dropped is full of cycles, and a worker's collections look for those too seldom to keep up with changes.
        gc.collect()

    async def _offer(self, seen: dict[Path, Signature]) -> None:
        """seen: the files as they were before they are read."""
        try:
            policy = await asyncio.to_thread(self._compile)
        except PolicyErrors as errors:
            self._remember(seen, errors.files | self.holder.current.files)
            self.holder.refuse(errors.problems)
            self._report(errors)
        else:
            self._remember(seen, policy.files)
            if policy.revision != self.holder.current.revision or self.holder.problems:
                self.holder.accept(policy)
                self._report(policy)

    def _remember(self, seen: dict[Path, Signature], files: Iterable[Path]) -> None:
        """What was read for this compile was seen before it; a file that changed since is different from what was seen."""
        self._seen = {path: seen[path] if path in seen else signature(path) for path in (self._path, *files)}

    def _directories(self) -> frozenset[Path]:
        around = {directory for path in self._seen for directory in (path.absolute().parent, path.resolve().parent)}
        return frozenset(filter(Path.is_dir, around))


def signatures(paths: Iterable[Path]) -> dict[Path, Signature]:
    return {path: signature(path) for path in paths}


def signature(path: Path) -> Signature:
    """What differs when the file behind `path`, links followed, has changed; None when there is none."""
    try:
        status = path.stat()
        content = path.read_bytes() if status.st_size <= SMALL and path.is_file() else b""
    except (OSError, ValueError):
        return None
    return status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size, sha256(content).digest()
