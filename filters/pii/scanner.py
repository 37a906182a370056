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
        self._keys = [each.key for each in expressions]
        numbered = list(enumerate(expressions))
        wide = [(id, each) for id, each in numbered if _BEYOND_ASCII.search(each.source)]
        narrow = [(id, each) for id, each in numbered if not _BEYOND_ASCII.search(each.source)]
        self._groups = [group for group in (wide, narrow) if group]
        self._which = [hs.Database(mode=hs.HS_MODE_BLOCK) for _ in self._groups]
        self._where = [hs.Database(mode=hs.HS_MODE_BLOCK) for _ in self._groups]
        self._local = threading.local()

    def compile(self) -> None:
        """Takes a fraction of a second, for which it lets go of Python's lock. Raises hs.error."""
        with _ONE_AT_A_TIME:
            for group, which, where in zip(self._groups, self._which, self._where, strict=True):
                _compile(which, group, hs.HS_FLAG_SINGLEMATCH)
                _compile(where, group, 0)

    def keys(self, text: bytes) -> list[str]:
        """The keys of the expressions that match in `text`, which is UTF-8."""
        found: list[int] = []
        for database, scratch in self._own().which:
            database.scan(text, match_event_handler=lambda id, *_: found.append(id), scratch=scratch)
        return [self._keys[id] for id in found]

    def ends(self, text: bytes, most: int) -> list[tuple[int, str]] | None:
        """Where matches end in `text`, in order, each with its key; None where there are more than `most`."""
        found: list[tuple[int, str]] = []
        keys = self._keys

        def add(id: int, _start: int, end: int, _flags: int, _context: object) -> bool:
            found.append((end, keys[id]))
            return len(found) > most

        try:
            for database, scratch in self._own().where:
                database.scan(text, match_event_handler=add, scratch=scratch)
        except hs.ScanTerminated:
            return None
        found.sort()
        return found

    def _own(self) -> "_Own":
        """This thread's."""
        try:
            own: _Own = self._local.own
        except AttributeError:
            which, where = ([(each, hs.Scratch(each)) for each in group] for group in (self._which, self._where))
            own = self._local.own = _Own(which, where)
        return own


class _Own(NamedTuple):
    """The databases, each with a thread's scratch space for it."""

    which: Sequence[tuple[hs.Database, hs.Scratch]]
    where: Sequence[tuple[hs.Database, hs.Scratch]]


def _compile(database: hs.Database, expressions: Sequence[tuple[int, Expression]], flags: int) -> None:
    database.compile(
        expressions=[each.source.encode() for _, each in expressions],
        ids=[id for id, _ in expressions],
        elements=len(expressions),
        flags=[each.flags | flags for _, each in expressions],
    )
