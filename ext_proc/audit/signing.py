"""Ed25519 keys: the one that signs a directory's checkpoints, and the public one that checks them."""

import base64
import binascii
from hashlib import sha256
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from headrace.ext_proc.audit.errors import AuditError
from headrace.ext_proc.audit.files import put_once
from headrace.ext_proc.audit.lines import Line

PRIVATE, PUBLIC = "signing.key", "signing.pub"
_PURPOSE: Final = "headrace audit checkpoint 1"


class PublicKey:
    """id: 16 hexadecimal digits of the key's SHA-256."""

    def __init__(self, key: Ed25519PublicKey) -> None:
        self._key = key
        self.id = sha256(key.public_bytes(Encoding.Raw, PublicFormat.Raw)).hexdigest()[:16]

    @classmethod
    def read(cls, path: Path) -> "PublicKey":
        """From a PEM file. Raises AuditError."""
        try:
            key = load_pem_public_key(path.read_bytes())
        except OSError as error:
            raise AuditError(f"{path}: {error.strerror}") from None
        except (ValueError, UnsupportedAlgorithm):
            raise AuditError(f"{path}: holds no public key in PEM") from None
        if not isinstance(key, Ed25519PublicKey):
            raise AuditError(f"{path}: holds no Ed25519 key; `headrace audit public-key` prints the right one")
        return cls(key)

    @property
    def pem(self) -> bytes:
        return self._key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    def signed(self, chain: str, segment: int, line: Line) -> bool:
        """Whether `line`, a checkpoint, has this key's signature for its place."""
        try:
            signature = base64.b64decode(str(line.record.get("signature")), validate=True)
            self._key.verify(signature, _text(chain, segment, line.seq, line.prev, line.time))
        except (InvalidSignature, binascii.Error, ValueError):
            return False
        return True


class Signer:
    """public: what checks its signatures."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        self.public = PublicKey(key.public_key())

    def sign(self, chain: str, segment: int, seq: int, prev: str, time: str) -> str:
        """The signature of a checkpoint at this place, over everything that its `prev` stands for."""
        return base64.b64encode(self._key.sign(_text(chain, segment, seq, prev, time))).decode()


def _text(chain: str, segment: int, seq: int, prev: str, time: str) -> bytes:
    return "\n".join((_PURPOSE, chain, str(segment), str(seq), prev, time)).encode("utf-8", "surrogatepass")


def load_signer(keys: Path, private: Path | None = None) -> Signer:
    """The directory's key; the first who asks makes it. private: where it is kept, if not in `keys`. Raises AuditError."""
    at = private or keys / PRIVATE
    try:
        pem = put_once(at, _fresh()) if not at.exists() else at.read_bytes()
        key = load_pem_private_key(pem, None)
        if not isinstance(key, Ed25519PrivateKey):
            raise AuditError(f"{at}: holds no Ed25519 key")
        signer = Signer(key)
        if not (keys / PUBLIC).exists():
            put_once(keys / PUBLIC, signer.public.pem)
    except OSError as error:
        raise AuditError(f"the audit log's signing key {at}: {error.strerror}") from None
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise AuditError(f"the audit log's signing key {at} is no private key in PEM without a password") from None
    return signer


def _fresh() -> bytes:
    return Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
