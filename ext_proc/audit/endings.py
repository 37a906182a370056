"""Where a file of a chain ends for certain: at its last signed checkpoint. What a crash leaves behind it was promised to nobody."""

from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final

from headrace.ext_proc.audit.chainfile import Place
from headrace.ext_proc.audit.lines import CHECKPOINT, SEGMENT, Line, decoded, hash_of
from headrace.ext_proc.audit.signing import PublicKey
from headrace.ext_proc.audit.tail import reversed_lines

FIRST: Final = 64 * 1024
"""Bytes of a file in which its first line ends."""


@dataclass(frozen=True, slots=True)
class Ending:
    """place: of the last signed checkpoint; None where there is none. size: bytes up to there. torn: bytes behind it, and their
    SHA-256. tampered: no crash leaves such an end.
    """

    place: Place | None
    size: int
    time: str = ""
    torn: int = 0
    torn_hash: str = ""
    tampered: bool = False


def first_line(path: Path) -> Line | None:
    """A file's first line, where it says whose it is. Raises OSError."""
    with path.open("rb") as file:
        line = decoded(file.read(FIRST).partition(b"\n")[0])
    return line if line is not None and line.kind == SEGMENT else None


def ending(path: Path, public: PublicKey) -> Ending:
    """Raises OSError."""
    head, total = first_line(path), path.stat().st_size
    if head is None:
        return Ending(None, 0, torn=total, torn_hash=_hash_from(path, 0), tampered=_has_lines(path))
    chain, number = str(head.record.get("chain")), int(head.record.get("segment", 0))
    size = total - _rest(path)
    for raw in reversed_lines(path):
        line = decoded(raw)
        if line is not None and line.kind == CHECKPOINT:
            if not public.signed(chain, number, line):
                return Ending(None, size, tampered=True)
            return Ending(Place(chain, number, line.seq, hash_of(raw)), size, line.time, total - size, _hash_from(path, size))
        size -= len(raw) + 1
    return Ending(None, 0, torn=total, torn_hash=_hash_from(path, 0))


def _rest(path: Path) -> int:
    """Bytes behind the last line break."""
    with path.open("rb") as file:
        at = file.seek(0, 2)
        rest = 0
        while at:
            size = min(FIRST, at)
            at -= size
            file.seek(at)
            _, found, tail = file.read(size).rpartition(b"\n")
            if found:
                return rest + len(tail)
            rest += size
    return rest


def _has_lines(path: Path) -> bool:
    return next(reversed_lines(path), None) is not None


def _hash_from(path: Path, start: int) -> str:
    with path.open("rb") as file:
        file.seek(start)
        rest = file.read()
    return sha256(rest).hexdigest() if rest else ""
