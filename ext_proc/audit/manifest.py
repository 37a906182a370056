"""The manifest: which chains and segments there should be. A chain itself, written by any worker and command, one at a time."""

import fcntl
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from secrets import token_hex
from typing import Any, Final

import msgspec

from headrace.ext_proc.audit.chainfile import ChainFile, Draft, Place
from headrace.ext_proc.audit.endings import ending
from headrace.ext_proc.audit.errors import AuditError
from headrace.ext_proc.audit.files import PRIVATE_FILE
from headrace.ext_proc.audit.home import Home
from headrace.ext_proc.audit.lines import Line, decoded, spelled
from headrace.ext_proc.audit.signing import Signer

OPENED: Final = "opened"
"""A worker has begun a chain."""
SEALED: Final = "sealed"
"""A segment is complete; where it ends."""
ENDED: Final = "ended"
"""A chain is complete: its worker has closed it, or was found dead."""
REMOVED: Final = "removed"
"""A segment was deleted on purpose."""
ERASED: Final = "erased"
"""Data keys were destroyed."""

EMPTY: Final = "empty"
"""How a chain has ended that had no signed line when its worker was found dead."""
TAMPERED: Final = "tampered"
"""How a chain has ended whose last file has an end that no crash leaves."""


class Where(msgspec.Struct, frozen=True):
    """What an event says of a segment, or of a chain: where it ends. seq: 0 and no hash where a chain has no signed line."""

    chain: str = ""
    segment: int = 0
    seq: int = 0
    hash: str = ""
    until: str = ""
    how: str = ""
    file: str = ""


def where_of(record: Mapping[str, Any]) -> Where:
    """An empty one for what no event says."""
    try:
        return msgspec.convert(record, Where)
    except msgspec.ValidationError:
        return Where()


@dataclass
class Held:
    """The manifest while no other process writes it."""

    file: ChainFile
    events: Sequence[Line]
    _signer: Signer
    _time: str

    def append(self, kind: str, record: Mapping[str, Any]) -> None:
        """On disk when it returns. Raises OSError."""
        draft = Draft(self.file.place, self._time)
        draft.add(kind, record)
        draft.checkpoint(self._signer)
        self.file.append(draft)

    def of(self, kind: str) -> Iterator[Where]:
        return (where_of(event.record) for event in self.events if event.kind == kind)


class Manifest:
    """now_ms: epoch."""

    def __init__(self, home: Home, signer: Signer, now_ms: Callable[[], int]) -> None:
        self._home = home
        self._signer = signer
        self._now_ms = now_ms

    @contextmanager
    def held(self) -> Iterator[Held]:
        """Waits for whoever holds it. Raises AuditError for one that was tampered with, and OSError."""
        path = self._home.manifest
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, PRIVATE_FILE)
        file: ChainFile | None = None
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            file = self._at_its_end(handle)
            yield Held(file, self._events(), self._signer, spelled(self._now_ms()))
        finally:
            os.close(handle)

    def append(self, kind: str, record: Mapping[str, Any]) -> None:
        with self.held() as held:
            held.append(kind, record)

    def _at_its_end(self, handle: int) -> ChainFile:
        """What a crash has torn is cut off; it was never told to anyone."""
        path = self._home.manifest
        found = ending(path, self._signer.public)
        if found.tampered:
            raise AuditError(f"{path}: its end has no valid signature; `headrace audit verify` says more")
        os.ftruncate(handle, found.size)
        os.lseek(handle, found.size, os.SEEK_SET)
        if found.place is not None:
            return ChainFile(path, found.place, handle, found.size)
        draft = Draft(Place(f"manifest-{token_hex(8)}"), spelled(self._now_ms()))
        draft.head(self._signer, {})
        draft.checkpoint(self._signer)
        file = ChainFile(path, draft.place, handle, 0)
        file.append(draft)
        return file

    def _events(self) -> Sequence[Line]:
        lines = self._home.manifest.read_bytes().splitlines()
        return [line for raw in lines if (line := decoded(raw)) is not None]
