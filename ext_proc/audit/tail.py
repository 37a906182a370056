"""The end of a file: its lines from the last one back, and what of it is certain."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

BLOCK: Final = 256 * 1024
"""Bytes read at a time: a few hundred lines."""


def reversed_lines(path: Path) -> Iterator[bytes]:
    """Whole lines without their breaks, the last one first; a rest without a break at the end is passed over. Raises OSError."""
    with path.open("rb") as file:
        at = file.seek(0, os.SEEK_END)
        rest, first = b"", True
        while at:
            size = min(BLOCK, at)
            at -= size
            file.seek(at)
            head, *lines = (file.read(size) + rest).split(b"\n")
            rest = head
            if lines and first:
                lines, first = lines[:-1], False
            yield from reversed(lines)
        if not first:
            yield rest
