"""Bodies of requests and answers under a data key of their tenant's: hashed or encrypted. Without the data key they say nothing."""

import base64
import hmac
import os
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from secrets import token_bytes, token_hex
from typing import Any, Final, Literal

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from headrace.ext_proc.audit.errors import AuditError, KeyGone
from headrace.ext_proc.audit.files import put_once, sync_directory
from headrace.ext_proc.audit.home import Home
from headrace.ext_proc.audit.masters import NONCE, SIZE, MasterKey
from headrace.ext_proc.core.json_body import NO_JSON
from headrace.ext_proc.core.principal import DEFAULT_ORGANISATION

Bodies = Literal["none", "hashed", "encrypted"]
Tenant = tuple[str, ...]
"""Organisation, then team or user, as the policy's `keys_per` says."""
KNOWN: Final = 4096
"""Tenants whose data key a worker remembers; the least used goes first."""
LEVELS: Final[Mapping[str, tuple[str, ...]]] = {
    "organisation": ("organisation",),
    "team": ("organisation", "team"),
    "user": ("organisation", "team", "user"),
}


def tenant_of(members: Mapping[str, Any], per: str) -> Tenant:
    """Of a record: a decision's principal, or a settlement's parts. What the caller's identity does not say is empty."""
    caller: Mapping[str, str] = members.get("principal", members)
    parts = tuple(str(caller.get(level) or "") for level in LEVELS[per])
    return (parts[0] or DEFAULT_ORGANISATION, *parts[1:])


class KeyFile(msgspec.Struct, frozen=True):
    """A data key at rest. id: goes with a new key each time. master: the id of what wrapped it. wrapped: base64."""

    id: str
    tenant: Tenant
    master: str
    wrapped: str

    @property
    def context(self) -> bytes:
        """Whose it is: the JSON of its id and its tenant."""
        return msgspec.json.encode(["headrace audit data key", self.id, *self.tenant])


@dataclass
class DataKey:
    """Opened. Each segment of a chain is encrypted under a key of its own, so that random nonces never meet."""

    id: str
    secret: bytes = field(repr=False)
    _ciphers: OrderedDict[str, AESGCM] = field(default_factory=OrderedDict, repr=False)

    def mac(self, data: bytes) -> str:
        return hmac.new(_derived(self.secret, "hash"), data, sha256).hexdigest()

    def cipher(self, chain: str, segment: int) -> AESGCM:
        where = f"{chain}/{segment}"
        if where not in self._ciphers:
            self._ciphers[where] = AESGCM(_derived(self.secret, f"segment {where}"))
            if len(self._ciphers) > 2:
                self._ciphers.popitem(last=False)
        return self._ciphers[where]


def _derived(secret: bytes, purpose: str) -> bytes:
    return HKDF(SHA256(), SIZE, None, f"headrace audit {purpose}".encode()).derive(secret)


@dataclass(frozen=True, slots=True)
class Spot:
    """Where a body stands: what its ciphertext is bound to, besides its key."""

    chain: str
    segment: int
    seq: int
    part: str

    def aad(self, key: str) -> bytes:
        return f"{self.chain}\n{self.segment}\n{self.seq}\n{self.part}\n{key}".encode()


class Vault:
    """The tenants' data keys. Each method may wait for the disk, and the first use of a tenant for the master key."""

    def __init__(self, home: Home, master: MasterKey) -> None:
        self._home = home
        self._master = master
        self._known: OrderedDict[Tenant, tuple[tuple[int, int], DataKey]] = OrderedDict()
        self._by_id: dict[str, Path] = {}

    def put(self, data: bytes, tenant: Tenant, spot: Spot, bodies: Bodies, most: int) -> dict[str, Any]:
        """What stands in the record for `data`. most: bytes that are kept; a hash is over all. Raises AuditError and OSError."""
        key = self._of(tenant)
        said: dict[str, Any] = {"key": key.id, "bytes": len(data)}
        if bodies == "hashed":
            return {**said, "mac": key.mac(data)}
        nonce = token_bytes(NONCE)
        sealed = nonce + key.cipher(spot.chain, spot.segment).encrypt(nonce, data[:most], spot.aad(key.id))
        return {**said, "sealed": base64.b64encode(sealed).decode()}

    def opened(self, body: Mapping[str, Any], spot: Spot) -> bytes:
        """The other direction, of an encrypted one. Raises KeyGone where it cannot be, AuditError as the master key does."""
        key = self._by_key_id(str(body.get("key")))
        sealed = base64.b64decode(body.get("sealed", ""))
        try:
            return key.cipher(spot.chain, spot.segment).decrypt(sealed[:NONCE], sealed[NONCE:], spot.aad(key.id))
        except (InvalidTag, ValueError):
            raise KeyGone("the body was not encrypted for this place, or was changed") from None

    def is_of(self, body: Mapping[str, Any], data: bytes) -> bool:
        """Whether `data` is what a hashed body stands for. Raises KeyGone."""
        return hmac.compare_digest(str(body.get("mac")), self._by_key_id(str(body.get("key"))).mac(data))

    # --- keys --------------------------------------------------------------------------------------------------------------

    def _of(self, tenant: Tenant) -> DataKey:
        """The tenant's key as it is now: one that was erased meanwhile is forgotten, and another is made."""
        path = self._path(tenant)
        known = self._known.get(tenant)
        if known is not None and _signature(path) == known[0]:
            self._known.move_to_end(tenant)
            return known[1]
        made = path.read_bytes() if path.exists() else put_once(path, self._fresh(tenant))
        key = self._unwrapped(_key_file(made, path))
        if (signature := _signature(path)) is not None:
            self._known[tenant] = signature, key
        if len(self._known) > KNOWN:
            self._known.popitem(last=False)
        return key

    def _path(self, tenant: Tenant) -> Path:
        return self._home.tenants / f"{sha256(msgspec.json.encode(tenant)).hexdigest()[:32]}.json"

    def _fresh(self, tenant: Tenant) -> bytes:
        blank = KeyFile(token_hex(8), tenant, self._master.id, "")
        wrapped = self._master.wrap(token_bytes(SIZE), blank.context)
        return msgspec.json.encode(msgspec.structs.replace(blank, wrapped=base64.b64encode(wrapped).decode()))

    def _unwrapped(self, file: KeyFile) -> DataKey:
        if file.master != self._master.id:
            raise KeyGone(f"the data key {file.id} is wrapped by the master key {file.master}; this is {self._master.id}")
        return DataKey(file.id, self._master.unwrap(base64.b64decode(file.wrapped), file.context))

    def _by_key_id(self, id: str) -> DataKey:
        """Raises KeyGone."""
        if id not in self._by_id:
            self._by_id = {file.id: path for path, file in key_files(self._home)}
        path = self._by_id.get(id)
        if path is None or not path.exists():
            raise KeyGone(f"the data key {id} is erased")
        file = _key_file(path.read_bytes(), path)
        return self._of(file.tenant)


def _signature(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_ino, status.st_mtime_ns


def _key_file(data: bytes, path: Path) -> KeyFile:
    """Raises AuditError."""
    try:
        return msgspec.json.decode(data, type=KeyFile)
    except NO_JSON:
        raise AuditError(f"{path} holds no data key") from None


def key_files(home: Home) -> list[tuple[Path, KeyFile]]:
    """Every data key there is, wrapped. Raises AuditError."""
    return [(path, _key_file(path.read_bytes(), path)) for path in sorted(home.tenants.glob("*.json"))]


def erased(home: Home, tenant: Tenant) -> list[str]:
    """Destroys the data keys of a tenant and of the tenants below it; their ids. Raises AuditError and OSError."""
    found = [(path, file) for path, file in key_files(home) if file.tenant[: len(tenant)] == tenant]
    for path, _ in found:
        _destroy(path)
    sync_directory(home.tenants)
    return [file.id for _, file in found]


def _destroy(path: Path) -> None:
    """Overwritten first: on a disk that writes in place nothing is left of it."""
    with path.open("r+b") as file:
        file.write(bytes(path.stat().st_size))
        file.flush()
        os.fsync(file.fileno())
    path.unlink()
