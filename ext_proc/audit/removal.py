"""Room: what the log's files take, and old segments deleted, which the manifest says before it is done."""

import contextlib
import os
from typing import Final

from headrace.ext_proc.audit.home import Home
from headrace.ext_proc.audit.lines import spelled
from headrace.ext_proc.audit.manifest import ENDED, REMOVED, SEALED, Held, Manifest, Where
from headrace.ext_proc.audit.recovery import LOCK

_COMPLETE: Final = (SEALED, ENDED)


def used_bytes(home: Home) -> int:
    """Of the manifest and of all chains. Raises OSError."""
    total = home.manifest.stat().st_size if home.manifest.exists() else 0
    for chain in os.scandir(home.chains):
        with contextlib.suppress(FileNotFoundError):
            total += sum(entry.stat().st_size for entry in os.scandir(chain.path))
    return total


def remove_before(home: Home, manifest: Manifest, before_ms: int) -> int:
    """Deletes segments that are complete and whose last record is older; how many. Raises AuditError and OSError."""
    limit = spelled(before_ms)
    with manifest.held() as held:
        old = [one for kind in _COMPLETE for one in held.of(kind) if one.segment and one.until < limit]
        gone = {(one.chain, one.segment) for one in held.of(REMOVED)}
        fresh = [one for one in old if (one.chain, one.segment) not in gone]
        for one in fresh:
            _remove(home, held, one)
    return len(fresh)


def _remove(home: Home, held: Held, old: Where) -> None:
    held.append(REMOVED, {"chain": old.chain, "segment": old.segment})
    home.segment(old.chain, old.segment).unlink(missing_ok=True)
    if not home.segments(old.chain) and any(one.chain == old.chain for one in held.of(ENDED)):
        (home.chain(old.chain) / LOCK).unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            home.chain(old.chain).rmdir()
