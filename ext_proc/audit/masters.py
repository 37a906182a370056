"""Master keys: what wraps the tenants' data keys. A local one has its 32 bytes here; a KMS keeps them to itself."""

import base64
import binascii
from collections.abc import Callable
from hashlib import sha256
from importlib.metadata import entry_points
from secrets import token_bytes
from typing import Final, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from headrace.ext_proc.audit.errors import AuditError, KeyGone
from headrace.ext_proc.engine.registry import third_party

GROUP: Final = "headrace.master_keys"
"""Entry points that connect a KMS: a name to a `Connect`."""
SIZE: Final = 32
NONCE: Final = 12
HOW: Final = f"must be {SIZE} bytes in base64, as `openssl rand -base64 {SIZE}` prints them"


class MasterKey(Protocol):
    """Called off the event loop, once for each tenant and worker, and again after a tenant was erased; it may wait for a network.

    id: names the key in the files of the keys it has wrapped; no secret. context: says whose key it is; a key that was wrapped in
    one context is not unwrapped in another.
    """

    @property
    def id(self) -> str: ...

    def wrap(self, data_key: bytes, context: bytes) -> bytes:
        """Raises AuditError where the KMS does not answer, or refuses."""
        ...

    def unwrap(self, wrapped: bytes, context: bytes) -> bytes:
        """Raises KeyGone for what this key has not wrapped in this context, AuditError where the KMS does not answer."""
        ...


Connect = Callable[[str], MasterKey]
"""What an entry point names: takes the policy's `key` and gives the master key. Raises AuditError."""


class LocalMaster:
    """AES-256-GCM, the context as associated data."""

    def __init__(self, key: bytes) -> None:
        self._cipher = AESGCM(key)
        self.id = "local:" + sha256(b"headrace audit master key" + key).hexdigest()[:16]

    def wrap(self, data_key: bytes, context: bytes) -> bytes:
        nonce = token_bytes(NONCE)
        return nonce + self._cipher.encrypt(nonce, data_key, context)

    def unwrap(self, wrapped: bytes, context: bytes) -> bytes:
        try:
            return self._cipher.decrypt(wrapped[:NONCE], wrapped[NONCE:], context)
        except (InvalidTag, ValueError):
            raise KeyGone(f"the master key {self.id} does not open this data key") from None


def local_master(text: str) -> LocalMaster | None:
    """From base64; None for what is no key."""
    try:
        key = base64.b64decode(text.strip(), validate=True)
    except (binascii.Error, ValueError):
        return None
    return LocalMaster(key) if len(key) == SIZE else None


def kms_master(kms: str, key: str) -> MasterKey:
    """Through the entry point of this name. Raises AuditError, and FilterError for one that cannot be loaded."""
    found = {entry.name: entry for entry in entry_points(group=GROUP)}
    if kms not in found:
        there = ", ".join(sorted(found)) or "none"
        raise AuditError(f"no package connects a KMS {kms!r}; an entry point of the group {GROUP} does, and there is {there}")
    with third_party(f"the KMS {kms!r} cannot be connected"):
        connect: Connect = found[kms].load()
        return connect(key)
