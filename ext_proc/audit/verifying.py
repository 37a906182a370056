"""Whether an audit log is as it was written: every line in its place, every checkpoint signed, every chain and segment there.

What is found: anything removed, changed, added, repeated, reordered or moved, in the manifest, in a chain that has ended, and
before the last checkpoint of one that has not. What is not: the end of a chain that has not ended, cut off at a checkpoint, or of
the manifest together with the chains it would name. Whoever keeps heads elsewhere (`heads`) has these found, too.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from msgspec import Struct

from headrace.ext_proc.audit.home import Home
from headrace.ext_proc.audit.lines import CLOSED
from headrace.ext_proc.audit.manifest import EMPTY, ENDED, OPENED, REMOVED, SEALED, TAMPERED, Where, where_of
from headrace.ext_proc.audit.scanning import MANIFEST, Found, Scan, scanned
from headrace.ext_proc.audit.signing import PUBLIC, PublicKey

AGAIN: Final = 3
"""Looks at a log whose manifest grows meanwhile: a segment may have been sealed between two reads."""
Head = tuple[int, str]
"""seq and hash of a line."""


@dataclass
class Verified:
    """problems: what no crash and no removal by Headrace explains. notes: what they do. heads: where each chain ends now."""

    chains: int = 0
    segments: int = 0
    records: int = 0
    problems: list[Found] = field(default_factory=list)
    notes: list[Found] = field(default_factory=list)
    heads: dict[str, Head] = field(default_factory=dict)


def verified(directory: Path, public: PublicKey | None = None, heads: Mapping[str, Head] | None = None) -> Verified:
    """public: by default the directory's own, which proves no more than that nobody without its private key has been here.

    heads: of an earlier look, kept elsewhere. Raises AuditError and OSError.
    """
    home = Home(directory)
    key = public or PublicKey.read(home.keys / PUBLIC)
    found = Verified()
    for _ in range(AGAIN):
        before = _size(home.manifest)
        found = _Look(home, key, dict(heads or {})).look()
        if not found.problems or before == _size(home.manifest):
            break
    return found


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


class _Chain(Struct):
    """What the manifest says of one. sealed: where each segment ends. ended: where the chain does."""

    sealed: dict[int, Head]
    removed: set[int]
    ended: Where | None = None


class _Look:
    def __init__(self, home: Home, key: PublicKey, heads: Mapping[str, Head]) -> None:
        self._home = home
        self._key = key
        self._heads = heads
        self._anchors: dict[str, dict[int, str]] = {}
        self._said_ended: set[str] = set()
        self._out = Verified()

    def look(self) -> Verified:
        for name, (seq, hash_) in self._heads.items():
            self._anchors.setdefault(name, {})[seq] = hash_
        expected = self._manifest()
        there = set(self._home.names())
        for name in sorted(there | expected.keys()):
            if name in expected:
                self._chain(name, expected[name])
            else:
                self._problem(f"chains/{name}", 0, "the manifest knows no such chain")
        for name in sorted(self._said_ended):
            if name in expected and expected[name].ended is None:
                self._problem(f"chains/{name}", 0, "has ended, which the manifest does not say: its end is cut off")
        for name, anchors in self._anchors.items():
            for seq in anchors:
                self._problem(name, 0, f"line {seq}, which was there before, is gone or changed")
        return self._out

    def _manifest(self) -> Mapping[str, _Chain]:
        """What there should be; its own lines are checked as any chain's."""
        path = self._home.manifest
        if not path.exists():
            self._problem(path.name, 0, "is gone")
            return {}
        scan = scanned(path, MANIFEST, 1, None, self._key, self._anchors)
        self._out.problems += scan.problems
        self._settle_tail(scan, None)
        if not scan.chain or not scan.end[0]:
            self._problem(path.name, 0, "has no signed line")
        else:
            self._out.heads[scan.chain] = scan.end
        return _expected(scan)

    def _chain(self, name: str, chain: _Chain) -> None:
        paths = {int(path.stem): path for path in self._home.segments(name)}
        last = max([*paths, *chain.sealed, *chain.removed, 0])
        if chain.ended is not None:
            last = max(last, chain.ended.segment)
        self._out.chains += 1
        end: Head | None = None
        for number in range(1, last + 1):
            expected = self._expected_end(chain, number)
            if number not in paths:
                end = self._missing(name, number, chain, expected)
                continue
            scan = scanned(paths[number], name, number, end if number > 1 else None, self._key, self._anchors)
            self._out.problems += scan.problems
            self._out.records += scan.records
            self._said_ended |= {name if kind == CLOSED else where_of(record).chain for kind, record in scan.events}
            self._settle_tail(scan, expected)
            if expected is None and number < last:
                self._problem(scan.file, 0, "the manifest does not say where this segment ends, but another follows")
            end = scan.end
            self._out.segments += 1
        self._settle_chain(name, chain, end, bool(paths))

    def _expected_end(self, chain: _Chain, number: int) -> Head | None:
        ended = chain.ended
        if ended is not None and ended.segment == number:
            return ended.seq, ended.hash
        return chain.sealed.get(number)

    def _missing(self, name: str, number: int, chain: _Chain, expected: Head | None) -> Head | None:
        """A segment that is not there: where it ended."""
        if number in chain.removed:
            self._anchors.pop(name, None) if expected is None else self._forget(name, expected[0])
        elif chain.ended is None or chain.ended.segment >= number:
            self._problem(f"chains/{name}", 0, f"segment {number} is gone")
        return expected

    def _forget(self, name: str, seq: int) -> None:
        """Lines up to `seq` were removed on purpose."""
        self._anchors[name] = {at: hash_ for at, hash_ in self._anchors.get(name, {}).items() if at > seq}

    def _settle_tail(self, scan: Scan, expected: Head | None) -> None:
        """What comes behind the last checkpoint, and whether the file ends where it was said to."""
        if expected is not None and scan.end != expected:
            self._problem(scan.file, 0, f"ends at line {scan.end[0]}; the manifest says at line {expected[0]}")
        if not scan.torn:
            return
        if expected is not None:
            self._problem(scan.file, 0, f"{scan.torn} bytes follow the end that the manifest names")
        else:
            self._out.notes.append(
                Found(scan.file, 0, f"{scan.torn} bytes behind the last checkpoint: being written, or torn by a crash")
            )

    def _settle_chain(self, name: str, chain: _Chain, end: Head | None, there: bool) -> None:
        if end is not None:
            self._out.heads[name] = end
        ended = chain.ended
        if ended is None and there:
            self._out.notes.append(Found(f"chains/{name}", 0, "is being written, or its worker died and none has started since"))
        elif ended is None and not chain.removed:
            self._problem(f"chains/{name}", 0, "is gone")
        elif ended is not None and ended.how == EMPTY:
            self._out.notes.append(Found(f"chains/{name}", 0, "had no record when its worker was found dead"))
        elif ended is not None and ended.how == TAMPERED:
            self._problem(f"chains/{name}", 0, f"its end had no valid signature when it was found: {ended.file}")

    def _problem(self, file: str, line: int, what: str) -> None:
        self._out.problems.append(Found(file, line, what))


def _expected(scan: Scan) -> Mapping[str, _Chain]:
    chains: dict[str, _Chain] = {}
    for kind, record in scan.events:
        where = where_of(record)
        name = where.chain
        if kind == OPENED:
            chains[name] = _Chain({}, set())
        elif name in chains and kind == SEALED:
            chains[name].sealed[where.segment] = (where.seq, where.hash)
        elif name in chains and kind == REMOVED:
            chains[name].removed.add(where.segment)
        elif name in chains and kind == ENDED:
            chains[name].ended = where
    return chains


def problems_of(found: Verified) -> Sequence[str]:
    """One line each."""
    return spelled(found.problems)


def spelled(found: Sequence[Found]) -> Sequence[str]:
    """file:line: what."""
    return [f"{one.file}:{one.line}: {one.what}" if one.line else f"{one.file}: {one.what}" for one in found]
