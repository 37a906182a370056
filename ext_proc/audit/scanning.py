"""One file of a chain, line by line: what of it is not as it was written."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

from headrace.ext_proc.audit.lines import CHECKPOINT, CLOSED, ORIGIN, RECOVERED, SEGMENT, Line, decoded, hash_of
from headrace.ext_proc.audit.manifest import OPENED
from headrace.ext_proc.audit.signing import PublicKey

MANIFEST: Final = "manifest"
_EVENTS: Final = (CLOSED, RECOVERED)
"""In a chain; of the manifest, all that is recorded."""
MOST_PROBLEMS: Final = 20
"""Of one file; what follows the first is mostly its consequence."""


class Found(NamedTuple):
    """file: below the log's directory. line: from 1; 0 where it is about the whole."""

    file: str
    line: int
    what: str


@dataclass
class Scan:
    """end: seq and hash of the last checkpoint. torn: bytes behind it. records: lines that are neither checkpoint nor head.

    events: what signed lines say of chains and segments, in order.
    """

    file: str
    chain: str = ""
    end: tuple[int, str] = (0, ORIGIN)
    torn: int = 0
    records: int = 0
    problems: list[Found] = field(default_factory=list)
    events: list[tuple[str, Mapping[str, Any]]] = field(default_factory=list)

    def problem(self, line: int, what: str) -> None:
        if len(self.problems) < MOST_PROBLEMS:
            self.problems.append(Found(self.file, line, what))


class _Scanner:
    """name: the chain's; MANIFEST takes it from the head. before: where the segment before it ended; None for the first one."""

    def __init__(
        self, scan: Scan, name: str, number: int, before: tuple[int, str] | None, key: PublicKey, anchors: dict[str, dict[int, str]]
    ) -> None:
        self.scan = scan
        self._name = name
        self._number = number
        self._seq, self._prev = before or (0, ORIGIN)
        self._key = key
        self._anchors = anchors
        self._unsigned = 0
        self._waiting = 0
        self._said: list[Line] = []

    def take(self, at: int, raw: bytes) -> None:
        """The next line, without its break."""
        self._unsigned += len(raw) + 1
        line = decoded(raw)
        if line is None:
            self.scan.problem(at, "is no line of an audit log")
            self._seq, self._prev = self._seq + 1, hash_of(raw)
            return
        self._place(at, line)
        if at == 1 or line.kind == SEGMENT:
            self._head(at, line)
        self._seq, self._prev = line.seq, hash_of(raw)
        self._anchor(at)
        if line.kind == CHECKPOINT:
            self._checkpoint(at, line)
        elif line.kind != SEGMENT:
            self._waiting += 1
        if line.kind in _EVENTS or (self._name == MANIFEST and line.kind not in (CHECKPOINT, SEGMENT)):
            self._said.append(line)

    def _place(self, at: int, line: Line) -> None:
        if line.seq != self._seq + 1:
            self.scan.problem(at, f"is line {line.seq} of the chain; {self._seq + 1} should follow")
        elif line.prev != self._prev:
            self.scan.problem(at, "does not follow the line before it: one of the two was changed")

    def _head(self, at: int, line: Line) -> None:
        said = line.record
        if at != 1 or line.kind != SEGMENT:
            self.scan.problem(at, "a file begins with one line that says whose it is, and has no other")
            return
        self.scan.chain = str(said.get("chain"))
        is_manifest = self._name == MANIFEST and self.scan.chain.startswith("manifest-")
        if not (is_manifest or self.scan.chain == self._name) or said.get("segment") != self._number:
            self.scan.problem(at, f"is segment {said.get('segment')} of the chain {self.scan.chain}: the file was moved")
        if said.get("key") != self._key.id:
            self.scan.problem(at, f"was signed with the key {said.get('key')}; this one is {self._key.id}")

    def _anchor(self, at: int) -> None:
        anchors = self._anchors.get(self.scan.chain)
        wanted = anchors.pop(self._seq, None) if anchors else None
        if wanted is not None and wanted != self._prev:
            self.scan.problem(at, "is not the line that was there before")

    def _checkpoint(self, at: int, line: Line) -> None:
        if not self._key.signed(self.scan.chain, self._number, line):
            self.scan.problem(at, "is a checkpoint whose signature does not hold")
        self.scan.end = self._seq, self._prev
        self.scan.records += self._waiting
        self._unsigned = self._waiting = 0
        for said in self._said:
            self._event(said)
        self._said = []

    def _event(self, line: Line) -> None:
        self.scan.events.append((line.kind, line.record))
        if line.kind == OPENED:
            for name, head in dict(line.record.get("heads", {})).items():
                self._anchors.setdefault(name, {})[head[0]] = head[1]

    def end(self, rest: int) -> None:
        """rest: bytes of a line without a break."""
        self.scan.torn = self._unsigned + rest


def scanned(
    path: Path,
    name: str,
    number: int,
    before: tuple[int, str] | None,
    key: PublicKey,
    anchors: dict[str, dict[int, str]],
) -> Scan:
    """anchors: by chain, lines that must be there, seq → hash; those that are leave it. Raises OSError."""
    scan = Scan(path.name if name == MANIFEST else f"chains/{name}/{path.name}")
    scanner = _Scanner(scan, name, number, before, key, anchors)
    rest = 0
    with path.open("rb") as file:
        for at, raw in enumerate(file, 1):
            if raw.endswith(b"\n"):
                scanner.take(at, raw[:-1])
            else:
                rest = len(raw)
    scanner.end(rest)
    return scan
