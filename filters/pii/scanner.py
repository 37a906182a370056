"""Expressions that hyperscan looks for in one pass over a text: which of them match, or where each match ends.

Those with characters beyond ASCII are compiled apart from the others: all together take hyperscan three times as long. A scan for
which match stops at the first match of each; one for where needs databases of its own, and is not for texts full of matches.
"""

import re
import threading
from collections.abc import Sequence
from typing import NamedTuple

import hyperscan as hs

_ONE_AT_A_TIME = threading.Lock()
"""A policy may have a hundred gates."""
_BEYOND_ASCII = re.compile(r"\\x\{")


class Expression(NamedTuple):
    """A key, and one of its expressions in hyperscan's syntax, with flags for it."""

    key: str
    source: str
    flags: int


class Scanner:
    """Shared by threads, which must not share hyperscan's scratch space."""

    def __init__(self, expressions: Sequence[Expression]) -> None:
        wide = [each for each in expressions if _BEYOND_ASCII.search(each.source)]
        narrow = [each for each in expressions if not _BEYOND_ASCII.search(each.source)]
        groups = [group for group in (wide, narrow) if group]
        self._which = [_Database(group, hs.HS_FLAG_SINGLEMATCH) for group in groups]
        self._where = [_Database(group, 0) for group in groups]

    def compile(self) -> None:
        """Takes a fraction of a second, for which it lets go of Python's lock. Raises hs.error."""
        with _ONE_AT_A_TIME:
            for each in (*self._which, *self._where):
                each.compile()

    def keys(self, text: bytes) -> list[str]:
        """The keys of the expressions that match in `text`, which is UTF-8."""
        return [key for each in self._which for key in each.keys(text)]

    def ends(self, text: bytes, most: int) -> list[tuple[int, str]] | None:
        """Where matches end in `text`, in order, each with its key; None where there are more than `most`."""
        found: list[tuple[int, str]] = []
        for each in self._where:
            if not each.add_ends(text, found, most):
                return None
        found.sort()
        return found


class _Database:
    def __init__(self, expressions: Sequence[Expression], flags: int) -> None:
        self._keys, self._sources, of_each = zip(*expressions, strict=True)
        self._flags = [each | flags for each in of_each]
        self._database = hs.Database(mode=hs.HS_MODE_BLOCK)
        self._local = threading.local()

    def compile(self) -> None:
        count = len(self._keys)
        sources = [each.encode() for each in self._sources]
        self._database.compile(expressions=sources, ids=list(range(count)), elements=count, flags=self._flags)

    def keys(self, text: bytes) -> Sequence[str]:
        found: list[int] = []
        self._database.scan(text, match_event_handler=lambda id, *_: found.append(id), scratch=self._scratch())
        return [self._keys[id] for id in found]

    def add_ends(self, text: bytes, found: list[tuple[int, str]], most: int) -> bool:
        """Whether all of them were added: `found` has `most` at the most."""
        keys = self._keys

        def add(id: int, _start: int, end: int, _flags: int, _context: object) -> bool:
            found.append((end, keys[id]))
            return len(found) > most

        try:
            self._database.scan(text, match_event_handler=add, scratch=self._scratch())
        except hs.ScanTerminated:
            return False
        return True

    def _scratch(self) -> hs.Scratch:
        try:
            scratch: hs.Scratch = self._local.scratch
        except AttributeError:
            scratch = self._local.scratch = hs.Scratch(self._database)
        return scratch
