"""The decision log: one JSON line per decision and per settlement. It holds names and numbers, never a text of a request."""

import asyncio
import contextlib
import logging
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from itertools import chain
from typing import Any, Final

import msgspec

from headrace.ext_proc.core.effects import Record
from headrace.ext_proc.core.errors import HeadraceError
from headrace.ext_proc.core.ports import Clock

log = logging.getLogger(__name__)

WAITING: Final = 65_536
"""Records that may wait for the disk, a kilobyte each; a log that falls further behind loses records rather than memory."""
FLUSH_S: Final = 0.05
PIPE_BUF: Final = 4096
"""Bytes that a pipe takes in one piece; longer writes of several workers may mix."""
STDOUT: Final = "-"

_encode = msgspec.json.Encoder(enc_hook=str).encode


class DecisionLogError(HeadraceError):
    """The file cannot be opened."""


class DecisionLog:
    """An observer of the effect runner: `write` never waits, a thread writes what has gathered.

    target: a file, created with mode 0600 and shared by the workers, or `-`. dropped: told of each record that was lost.
    """

    def __init__(self, target: str, clock: Clock, dropped: Callable[[], None]) -> None:
        """Raises DecisionLogError."""
        self._target = target
        self._clock = clock
        self._dropped = dropped
        self._file = _open(target)
        self._waiting: list[tuple[int, Record]] = []
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="decisions")
        self._timer: asyncio.TimerHandle | None = None
        self._writing: asyncio.Future[None] | None = None
        self._is_cut = False
        """Whether the file may end in the middle of a line."""

    def write(self, record: Record) -> None:
        """On the event loop."""
        if len(self._waiting) >= WAITING:
            self._dropped()
            return
        self._waiting.append((self._clock.now_ms(), record))
        if self._timer is None and self._writing is None:
            self._timer = asyncio.get_running_loop().call_later(FLUSH_S, self._flush)

    def reopen(self) -> None:
        """After the file was moved away; when the new one cannot be opened, the old one goes on."""
        try:
            fresh = _open(self._target)
        except DecisionLogError as error:
            log.error("decision log not reopened", extra={"detail": str(error)})
            return
        old, self._file, self._is_cut = self._file, fresh, False
        self._thread.submit(_close, old)  # after what is being written to it

    async def close(self) -> None:
        """Returns when everything is written."""
        while self._waiting or self._writing is not None:
            if self._writing is None:
                self._flush()
            if self._writing is not None:
                await asyncio.wait([self._writing])
        self._thread.shutdown()
        _close(self._file)

    def _flush(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None
        batch, self._waiting = self._waiting, []
        if batch:
            loop, file = asyncio.get_running_loop(), self._file
            self._writing = loop.run_in_executor(self._thread, _write, file, batch, self._is_cut)
            self._writing.add_done_callback(lambda done: self._written(done, file, len(batch)))

    def _written(self, done: "asyncio.Future[None]", file: int, count: int) -> None:
        self._writing = None
        if file == self._file:
            self._is_cut = done.exception() is not None
        if (error := done.exception()) is not None:
            log.error("decision log not written", extra={"detail": str(error), "records": count})
            for _ in range(count):
                self._dropped()
        if self._waiting and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(FLUSH_S, self._flush)


def _open(target: str) -> int:
    if target == STDOUT:
        return os.dup(1)
    try:
        return os.open(target, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise DecisionLogError(f"the decision log {target} cannot be written: {error.strerror}") from None


def _close(file: int) -> None:
    with contextlib.suppress(OSError):
        os.close(file)


def _write(file: int, batch: Sequence[tuple[int, Record]], after_cut: bool) -> None:
    """after_cut: what was written before may lack its end, and must not take the first record with it. Raises OSError."""
    piece = WAITING * PIPE_BUF if stat.S_ISREG(os.fstat(file).st_mode) else PIPE_BUF
    end = [b"\n"] if after_cut else []
    for lines in _pieces(chain(end, (_line(at_ms, record) for at_ms, record in batch)), piece):
        rest = memoryview(lines)
        while rest:
            rest = rest[os.write(file, rest) :]


def _line(at_ms: int, record: Record) -> bytes:
    at = datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds")
    members: dict[str, Any] = {"time": at, "kind": record.kind, **record.members}
    return _encode(members) + b"\n"


def _pieces(lines: Iterator[bytes], size: int) -> Iterator[bytes]:
    """Whole lines joined, up to `size` bytes."""
    piece = bytearray()
    for line in lines:
        if piece and len(piece) + len(line) > size:
            yield bytes(piece)
            piece.clear()
        piece += line
    if piece:
        yield bytes(piece)
