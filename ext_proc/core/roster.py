"""Rosters: who is known, such as keys and tokens, as records that every process can follow."""

from msgspec import Struct

from headrace.ext_proc.core.errors import HeadraceError

ROSTER_MAX = 100_000
"""Records of a roster. A worker holds all of them in memory; this many keys are some 40 MB, read in half a second."""


class RosterFull(HeadraceError):
    """The roster has ROSTER_MAX records; nothing was put into it."""


class Listed(Struct, frozen=True):
    """One record. revision: of the roster when the record was changed last; every change has a higher one, from 1."""

    id: str
    value: bytes
    revision: int
