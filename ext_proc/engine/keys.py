"""API keys: secrets shown once, and their HMACs, which are kept.

A key has 256 random bits, so its HMAC-SHA-256 under a pepper is all the hashing it needs: nobody guesses such a secret, and who
steals the file cannot use it. Looking a digest up in a dict takes the same time for near misses as for far ones, because a
caller who does not know the pepper cannot choose digests.
"""

import hmac
import os
import secrets
from collections.abc import Mapping
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from typing import Annotated, Final

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field
from pydantic_core import PydanticCustomError

from headrace.ext_proc.core.errors import HeadraceError
from headrace.ext_proc.core.principal import DEFAULT_ORGANISATION, MAX_PART, Principal, is_part
from headrace.ext_proc.engine.history import Act
from headrace.ext_proc.engine.policy.values import Matching, Name

PREFIX = "hr-"
PEPPER_VARIABLE = "HEADRACE_PEPPER"
PEPPER_NAME = "headrace.pepper"
MIN_PEPPER = 32  # characters; 32 hexadecimal digits are 128 bits, which nobody tries out


class PepperError(HeadraceError):
    """There is no usable pepper; the message says what would give one."""


def _part(value: str) -> str:
    if not is_part(value):
        raise PydanticCustomError("pattern", "must be 1 to 256 printable characters without braces, no blank at the ends")
    return value


Part = Annotated[
    str, AfterValidator(_part), Field(json_schema_extra={"minLength": 1, "maxLength": MAX_PART, "format": "headrace-name"})
]
"""`format`: JSON Schema has no word for what is printable."""


class KeyRecord(BaseModel):
    """What is kept of a key. models: globs of the models it may ask for; empty: all of the catalogue.

    history: of keys in the store.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: Annotated[str, Matching(r"[A-Za-z0-9_.-]{1,64}", "an id of 1 to 64 characters A-Z a-z 0-9 _ . -")]
    digest: Annotated[str, Matching(r"[0-9a-f]{64}", "an HMAC-SHA-256 of 64 hexadecimal digits")]
    organisation: Part = DEFAULT_ORGANISATION
    team: Part | None = None
    app: Part | None = None
    user: Part | None = None
    models: tuple[Name, ...] = ()
    created: AwareDatetime | None = None
    expires: AwareDatetime | None = None
    disabled: bool = False
    history: tuple[Act, ...] = ()

    @property
    def principal(self) -> Principal:
        return Principal(self.organisation, self.team, self.app, self.user, self.id)

    def is_expired(self, now_ms: int) -> bool:
        return self.expires is not None and now_ms >= self.expires.timestamp() * 1000


REMEMBERED: Final = 4096
"""Digests that are kept, some 300 bytes each: the same callers come again, and OpenSSL's HMAC takes five times blake2b's time."""
_OF_PROCESS: Final = secrets.token_bytes(32)
"""Key of the hashes that digests are kept under: of this process alone, so that they mean nothing anywhere else."""
_digests: dict[tuple[bytes, bytes], str] = {}


def new_secret() -> str:
    return PREFIX + secrets.token_urlsafe(32)


def new_id() -> str:
    return f"key_{secrets.token_hex(6)}"


def digest(pepper: bytes, secret: str) -> str:
    """HMAC-SHA-256 in hexadecimal. Header values with bytes that are no UTF-8 are taken as the proxy decoded them."""
    shown = secret.encode("utf-8", "surrogateescape")
    name = pepper, blake2b(shown, key=_OF_PROCESS, digest_size=32).digest()
    found = _digests.get(name)
    if found is None:
        if len(_digests) >= REMEMBERED:
            _digests.clear()
        found = _digests[name] = hmac.digest(pepper, shown, "sha256").hex()
    return found


def load_pepper(path: Path, environment: Mapping[str, str]) -> bytes:
    """The pepper of the environment, else of the file. Raises PepperError."""
    if given := environment.get(PEPPER_VARIABLE):
        return _long_enough(given, PEPPER_VARIABLE)
    try:
        return _long_enough(path.read_text("ascii").strip(), str(path))
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        hint = f"set {PEPPER_VARIABLE}, or make a first key with `headrace keys create`"
        raise PepperError(f"no pepper for API keys: cannot read {path}: {why}; {hint}") from None


def _long_enough(pepper: str, origin: str) -> bytes:
    if len(pepper) < MIN_PEPPER:
        raise PepperError(f"the pepper in {origin} has {len(pepper)} characters; it needs {MIN_PEPPER} or more, all random")
    return pepper.encode()


def make_pepper(path: Path) -> None:
    """A new pepper in `path`, for its owner alone; an existing file stays. Raises OSError."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    write_private(draft, f"{secrets.token_hex(32)}\n".encode())
    try:
        with suppress(FileExistsError):
            path.hardlink_to(draft)
    finally:
        draft.unlink()


def write_private(path: Path, content: bytes) -> None:
    """A new file for its owner alone, on the disk when this returns. Raises OSError, FileExistsError among them."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
