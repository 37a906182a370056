"""Chains whose worker is dead: cut back to their last signed checkpoint, and said to be complete."""

import fcntl
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from headrace.ext_proc.audit.endings import Ending, ending
from headrace.ext_proc.audit.home import Home
from headrace.ext_proc.audit.manifest import EMPTY, ENDED, OPENED, TAMPERED, Held
from headrace.ext_proc.audit.signing import PublicKey

LOCK: Final = "lock"
"""Held by the worker that writes the chain, for as long as it lives."""


def recover(home: Home, held: Held, public: PublicKey) -> Sequence[Mapping[str, Any]]:
    """What was found of each chain that nobody writes any more; the manifest says so, too. Raises OSError."""
    found = []
    for name in _open(held):
        if _is_written(home.chain(name) / LOCK):
            continue
        record = _ended(home, name, public)
        held.append(ENDED, record)
        found.append(record)
    return found


def heads(home: Home, held: Held, public: PublicKey) -> Mapping[str, Sequence[Any]]:
    """Where the chains stand that other workers write now: their last signed line's seq and hash."""
    ends = {name: _last(home, name, public) for name in _open(held) if _is_written(home.chain(name) / LOCK)}
    return {name: [end.place.seq, end.place.hash] for name, end in ends.items() if end is not None and end.place is not None}


def _open(held: Held) -> Iterator[str]:
    ended = {one.chain for one in held.of(ENDED)}
    return (one.chain for one in held.of(OPENED) if one.chain not in ended)


def _is_written(lock: Path) -> bool:
    try:
        handle = os.open(lock, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False


def _last(home: Home, name: str, public: PublicKey) -> Ending | None:
    paths = home.segments(name)
    return ending(paths[-1], public) if paths else None


def _ended(home: Home, name: str, public: PublicKey) -> Mapping[str, Any]:
    """Cuts off what is torn. A file whose end no crash leaves stays as it is, for `verify` to tell of."""
    torn, torn_hash = 0, ""
    for path in reversed(home.segments(name)):
        found = ending(path, public)
        if found.tampered:
            return {"chain": name, "how": TAMPERED, "file": path.name}
        torn, torn_hash = found.torn, found.torn_hash
        if found.place is not None:
            os.truncate(path, found.size)
            place = found.place
            said = {"torn": torn, "torn_hash": torn_hash} if torn else {}
            where = {"chain": name, "segment": place.segment, "seq": place.seq, "hash": place.hash}
            return {**where, "until": found.time, "how": "recovered", **said}
        path.unlink()  # its first lines were torn, and nothing was promised in it
    return {"chain": name, "how": EMPTY, **({"torn": torn, "torn_hash": torn_hash} if torn else {})}
