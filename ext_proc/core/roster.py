"""Rosters: who is known, such as keys and tokens, as records that every process can follow."""

from collections.abc import Sequence

from msgspec import Struct

from headrace.ext_proc.core.errors import HeadraceError

ROSTER_MAX = 100_000
"""Records of a roster. A worker holds all of them in memory; this many keys are some 40 MB, read in half a second."""


MARKS_MAX = 1000
"""Revisions whose marks a store keeps. A reader that is further behind reads the roster anew."""


class RosterFull(HeadraceError):
    """The roster has ROSTER_MAX records; nothing was put into it."""


class Listed(Struct, frozen=True):
    """One record. revision: of the roster when the record was changed last; every change has a higher one, from 1."""

    id: str
    value: bytes
    revision: int


class Seen(Struct, frozen=True):
    """How far a roster was read. mark: the newest revision there was then, and what its store drew by lot for it; empty where it
    drew nothing.

    A store that lost its last writes gives their revisions to others: by the mark a reader learns that it has read what is no more.
    The newest revision's, because a record that was beyond a page may go back to before it.
    """

    revision: int = 0
    mark: str = ""


class Changes(Struct, frozen=True):
    """records: those changed after what was seen. seen: how far they go.

    lost: the store no longer has what was seen, and these are the first of all its records.
    """

    records: Sequence[Listed]
    seen: Seen
    lost: bool = False
