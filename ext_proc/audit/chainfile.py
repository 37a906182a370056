"""One file of a chain, appended to in batches: lines, and a checkpoint that signs them. A batch is on disk wholly or not at all."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from headrace.ext_proc.audit.files import PRIVATE_FILE, sync_directory
from headrace.ext_proc.audit.lines import CHECKPOINT, ORIGIN, SEGMENT, encoded, hash_of
from headrace.ext_proc.audit.signing import Signer

VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class Place:
    """Where a chain stands: its last line. seq: 0 where there is none."""

    chain: str
    segment: int = 1
    seq: int = 0
    hash: str = ORIGIN


class Draft:
    """Lines that follow a place, with what signs them."""

    def __init__(self, place: Place, time: str) -> None:
        self.place = place
        self.time = time
        self._lines: list[bytes] = []

    def add(self, kind: str, record: Mapping[str, Any], time: str = "", bodies: Mapping[str, Any] | None = None) -> None:
        place = self.place
        line = encoded(place.seq + 1, place.hash, time or self.time, kind, record, bodies)
        self._lines.append(line)
        self.place = replace(place, seq=place.seq + 1, hash=hash_of(line))

    def checkpoint(self, signer: Signer) -> None:
        place = self.place
        signature = signer.sign(place.chain, place.segment, place.seq + 1, place.hash, self.time)
        self.add(CHECKPOINT, {"signature": signature})

    def head(self, signer: Signer, about: Mapping[str, Any]) -> None:
        """A file's first line."""
        place = self.place
        whose = {"version": VERSION, "chain": place.chain, "segment": place.segment, "key": signer.public.id}
        self.add(SEGMENT, {**whose, **about})

    @property
    def data(self) -> bytes:
        return b"\n".join((*self._lines, b""))


class ChainFile:
    """Open for appending. place: its last line that is on disk. size: bytes."""

    def __init__(self, path: Path, place: Place, file: int, size: int) -> None:
        self.path = path
        self.place = place
        self.size = size
        self._file = file

    @classmethod
    def made(cls, path: Path, draft: Draft) -> "ChainFile":
        """A new file with its first lines. Raises OSError, also where it is there."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        made = cls(path, draft.place, os.open(path, flags, PRIVATE_FILE), 0)
        try:
            made.append(draft)
            sync_directory(path.parent)
        except OSError:
            made.close()
            path.unlink()
            raise
        return made

    def append(self, draft: Draft, synced: Callable[[int], None] = os.fdatasync) -> int:
        """Returns when the lines are on disk; how many bytes. Raises OSError; then the file is as it was."""
        data = draft.data
        try:
            _write(self._file, data)
            synced(self._file)
        except OSError:
            os.ftruncate(self._file, self.size)
            os.lseek(self._file, self.size, os.SEEK_SET)
            raise
        self.size += len(data)
        self.place = draft.place
        return len(data)

    def close(self) -> None:
        os.close(self._file)


def _write(file: int, data: bytes) -> None:
    """Raises OSError."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(file, rest) :]
