"""Which policies were in force, since when, and what each changed, in words: kept in a roster of the store.

Every service of a store tells it what its workers have in force; what is there already is not told again.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
from msgspec import Struct, field

from headrace.ext_proc.core.ports import Store, StoreUnavailable
from headrace.ext_proc.core.roster import RosterFull
from headrace.ext_proc.engine.policy.compile import revision_of
from headrace.ext_proc.engine.policy.differences import Content, content_of, of_documents, of_files
from headrace.ext_proc.engine.policy.lines import MAX_BYTES, parse, read_bytes
from headrace.ext_proc.engine.policy.models import PolicyDocument
from headrace.ext_proc.engine.policy.problems import PolicyErrors
from headrace.ext_proc.engine.policy.validation import validated
from headrace.ext_proc.engine.rosters import everyone

ROSTER = "policy-revisions"
TEXT = 256 * 1024
"""Bytes of a policy's file that are kept; of a longer one it is not said what it changed."""
CHANGES = 200
"""Of one revision, in words."""

log = logging.getLogger(__name__)
_encode = msgspec.json.Encoder().encode


class Revision(Struct, frozen=True):
    """A policy that came into force. at_ms: epoch. text: its file; empty where it is not known, or too long. files: those it names.
    changes: against the one before, in words.
    """

    number: int
    revision: str
    at_ms: int
    text: str = ""
    files: Mapping[str, Content] = field(default_factory=dict)
    changes: Sequence[str] = ()
    unknown: bool = False
    """Nobody can say what it changed: its file, or the one before, was gone or changed when it was looked at."""


class Revisions:
    """policy: the file of this service."""

    def __init__(self, store: Store, policy: Path) -> None:
        self._store, self._policy = store, policy
        self._told = ""
        self._latest: Revision | None = None
        self._read = 0
        """The roster's revision up to which `_latest` is the latest."""
        self._telling: asyncio.Task[None] | None = None

    def tell(self, revision: str, at_ms: int, files: Sequence[str]) -> None:
        """A revision is in force; may be called with the same one again and again."""
        if revision != self._told and (self._telling is None or self._telling.done()):
            self._telling = asyncio.create_task(self._tell(revision, at_ms, files), name="policy revision")

    async def all(self) -> Sequence[Revision]:
        """The latest first. Raises StoreUnavailable."""
        found = [known async for listed in everyone(self._store, ROSTER) if (known := _decoded(listed.value)) is not None]
        return sorted(found, key=lambda one: one.number, reverse=True)

    async def close(self) -> None:
        if self._telling is not None:
            self._telling.cancel()
            await asyncio.wait([self._telling])

    async def _tell(self, revision: str, at_ms: int, files: Sequence[str]) -> None:
        """What the store does not take now is told at the next call."""
        try:
            last = await self._last()
            if last is None or last.revision != revision:
                new = await asyncio.to_thread(self._new, last, revision, at_ms, files)
                taken = await self._store.enrol(ROSTER, f"{new.number:08d}", _encode(new))  # who is quicker has told the same
                if 0 < taken <= self._read:  # the store has lost what was read
                    self._latest, self._read = new, taken
        except StoreUnavailable:
            return
        except RosterFull:
            log.warning("the history of policies is full", extra={"revision": revision})
        self._told = revision

    async def _last(self) -> Revision | None:
        """The latest that the store has. What was read for another policy is not read again. Raises StoreUnavailable."""
        async for listed in everyone(self._store, ROSTER, self._read):
            self._read, known = listed.revision, _decoded(listed.value)
            if known is not None and (self._latest is None or known.number > self._latest.number):
                self._latest = known
        return self._latest

    def _new(self, last: Revision | None, revision: str, at_ms: int, files: Sequence[str]) -> Revision:
        number = last.number + 1 if last else 1
        try:
            content = read_bytes(self._policy, MAX_BYTES)
            contents = [Path(name).read_bytes() for name in files]
        except (PolicyErrors, OSError):
            return Revision(number, revision, at_ms, unknown=True)
        if len(content) > TEXT or revision_of(content, contents) != revision:
            return Revision(number, revision, at_ms, unknown=True)
        named = {Path(name).name: content_of(one) for name, one in zip(files, contents, strict=True)}
        new = Revision(number, revision, at_ms, content.decode(), named)
        changes = _changes(last, new) if last else ()
        return msgspec.structs.replace(new, changes=changes or (), unknown=changes is None)


def _changes(old: Revision, new: Revision) -> Sequence[str] | None:
    """In words; None where one of the texts is not known, or is no policy for this release."""
    before, after = document_of(old.text), document_of(new.text)
    if before is None or after is None:
        return None
    return [str(one) for one in [*of_documents(before, after), *of_files(old.files, new.files)]][:CHANGES]


def document_of(text: str) -> PolicyDocument | None:
    """None where it is no policy."""
    if not text:
        return None
    try:
        located = parse(text.encode(), "policy")
    except PolicyErrors:
        return None
    return validated(PolicyDocument, located.value, lambda where, message: None)


def _decoded(value: bytes) -> Revision | None:
    """None for what a newer release has written."""
    try:
        return msgspec.json.decode(value, type=Revision)
    except msgspec.MsgspecError:
        return None
