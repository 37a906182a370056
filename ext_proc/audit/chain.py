"""A worker's chain: its records from its start to its end, in segments. Everything here waits for the disk: call it on a thread."""

import errno
import fcntl
import os
import platform
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from secrets import token_hex
from typing import Any, Final

from msgspec import Struct

from headrace.ext_proc.audit.chainfile import ChainFile, Draft, Place
from headrace.ext_proc.audit.errors import AuditFull
from headrace.ext_proc.audit.files import PRIVATE_FILE, private_directory
from headrace.ext_proc.audit.home import Home
from headrace.ext_proc.audit.lines import CLOSED, RECOVERED, spelled
from headrace.ext_proc.audit.manifest import ENDED, OPENED, SEALED, Manifest
from headrace.ext_proc.audit.recovery import LOCK, heads, recover
from headrace.ext_proc.audit.removal import remove_before, used_bytes
from headrace.ext_proc.audit.signing import load_signer
from headrace.ext_proc.audit.terms import Terms
from headrace.ext_proc.audit.vault import Spot, Tenant, Vault

DAY_MS: Final = 86_400_000
LOOK_BYTES: Final = 1_000_000
"""Written between two looks at what all files take: as much may a worker go beyond the policy's limit."""
ALIVE: Final = "alive"
"""Kind of a record that says that a chain goes on; the time of the last one bounds what could have been cut off."""


class Pending(Struct):
    """A record that waits for the disk. parts: bodies by `request` and `answer`.

    taken: it is in a batch, and will be on disk. withdrawn: it was given up before that.
    """

    at_ms: int
    kind: str
    members: Mapping[str, Any]
    tenant: Tenant = ()
    parts: Mapping[str, bytes] = {}
    taken: bool = False
    withdrawn: bool = False

    @property
    def size(self) -> int:
        return sum(map(len, self.parts.values()))


class Chain:
    """worker: a number, or the name of another process that writes. Raises AuditError and OSError when built."""

    def __init__(self, terms: Terms, worker: str, now_ms: Callable[[], int], synced: Callable[[int], None] = os.fdatasync) -> None:
        self.terms = terms
        self._now_ms = now_ms
        self._synced = synced
        self._home = Home(terms.directory)
        self._home.make()
        self._signer = load_signer(self._home.keys, terms.signing_key)
        self._manifest = Manifest(self._home, self._signer, now_ms)
        self._vault = Vault(self._home, terms.master) if terms.master is not None else None
        self._used, self._looked_at, self._sealed = 0, 0, 0
        self._file, self._since_ms, self._lock = self._opened(worker)

    @property
    def name(self) -> str:
        return self._file.place.chain

    @property
    def place(self) -> Place:
        return self._file.place

    def write(self, batch: Sequence[Pending]) -> int:
        """All of it is on disk when this returns; bytes. Raises AuditFull, AuditError and OSError; then nothing of it is."""
        self._seal_when_due()
        draft = Draft(self._file.place, spelled(self._now_ms()))
        for pending in batch:
            if not pending.withdrawn:
                self._add(draft, pending)
        draft.checkpoint(self._signer)
        self._find_room(len(draft.data))
        written = self._file.append(draft, self._synced)
        self._used += written
        return written

    def keep(self) -> None:
        """Once a minute: says that the chain goes on, seals what is a day old, deletes what is too old. Raises as `write`."""
        self.write([Pending(self._now_ms(), ALIVE, {})])
        self._retire()

    def close(self) -> None:
        """The chain is complete. Raises OSError."""
        try:
            draft = Draft(self._file.place, spelled(self._now_ms()))
            draft.add(CLOSED, {})
            draft.checkpoint(self._signer)
            self._file.append(draft, self._synced)
            self._manifest.append(ENDED, {**_where(draft.place), "until": draft.time, "how": CLOSED})
        finally:
            self._file.close()
            os.close(self._lock)

    def _opened(self, worker: str) -> tuple[ChainFile, int, int]:
        now_ms = self._now_ms()
        time = spelled(now_ms)
        compact = re.sub(r"[-:.]", "", time)
        name = f"{compact}-{worker}-{token_hex(4)}"
        about = {"worker": worker, "host": platform.node(), "pid": os.getpid()}
        with self._manifest.held() as held:
            found = recover(self._home, held, self._signer.public)
            held.append(OPENED, {"chain": name, **about, "heads": heads(self._home, held, self._signer.public)})
            private_directory(self._home.chain(name))
            lock = os.open(self._home.chain(name) / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, PRIVATE_FILE)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX)
                file = self._begun(Place(name), about, found)
            except OSError:
                os.close(lock)
                raise
        self._retire()
        return file, now_ms, lock

    def _begun(self, place: Place, about: Mapping[str, Any], found: Sequence[Mapping[str, Any]] = ()) -> ChainFile:
        """The next file, with its head, and with what was found of other chains."""
        draft = Draft(place, spelled(self._now_ms()))
        draft.head(self._signer, about)
        for record in found:
            draft.add(RECOVERED, record)
        draft.checkpoint(self._signer)
        return ChainFile.made(self._home.segment(place.chain, place.segment), draft)

    def _add(self, draft: Draft, pending: Pending) -> None:
        place = draft.place
        bodies = {part: self._body(data, pending.tenant, place, part) for part, data in pending.parts.items()}
        draft.add(pending.kind, pending.members, spelled(pending.at_ms), bodies)

    def _body(self, data: bytes, tenant: Tenant, place: Place, part: str) -> Mapping[str, Any]:
        """Of the line that comes after `place`."""
        assert self._vault is not None, "without a master key no bodies are kept"
        settings = self.terms.settings
        spot = Spot(place.chain, place.segment, place.seq + 1, part)
        return self._vault.put(data, tenant, spot, settings.bodies, settings.max_body_kb * 1024)

    def _find_room(self, wanted: int) -> None:
        """Raises AuditFull, and OSError where it has not been seen yet what all files take."""
        if self._file.size - self._looked_at >= LOOK_BYTES or not self._used:
            try:
                self._used, self._looked_at = used_bytes(self._home), self._file.size
            except OSError as error:
                if not (self._used and _lacks_descriptors(error)):
                    raise
        if self._used + wanted > self.terms.most_bytes:
            self._used = 0  # look again next time: somebody may have made room
            limit = self.terms.settings.max_disk_mb
            raise AuditFull(f"the audit log {self._home.path} takes the {limit} MB of max_disk_mb")

    def _seal_when_due(self) -> None:
        if self._file.size >= self.terms.segment_bytes or self._now_ms() - self._since_ms >= DAY_MS:
            try:
                self.seal()
            except OSError as error:
                is_sealed = self._sealed == self._file.place.segment  # it takes no more records
                if is_sealed or not _lacks_descriptors(error):
                    raise

    def seal(self) -> None:
        """The segment is complete, and the chain goes on in the next one. Raises AuditError and OSError."""
        place = self._file.place
        if self._sealed < place.segment:  # else the next file could not be made a moment ago
            self._manifest.append(SEALED, {**_where(place), "bytes": self._file.size, "until": spelled(self._now_ms())})
            self._sealed = place.segment
        fresh = self._begun(replace(place, segment=place.segment + 1), {})
        self._file.close()
        self._file, self._since_ms, self._looked_at = fresh, self._now_ms(), 0
        self._retire()

    def _retire(self) -> None:
        if (days := self.terms.settings.keep_days) is not None:
            remove_before(self._home, self._manifest, self._now_ms() - days * DAY_MS)


def _lacks_descriptors(error: OSError) -> bool:
    """What fails so waits until the next batch, for that one needs none: requests wait for it."""
    return error.errno in (errno.EMFILE, errno.ENFILE)


def _where(place: Place) -> dict[str, Any]:
    return {"chain": place.chain, "segment": place.segment, "seq": place.seq, "hash": place.hash}
