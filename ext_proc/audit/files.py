"""Files that nobody else may read, made so that a crash leaves them whole or not there at all."""

import os
from pathlib import Path

from headrace.ext_proc.audit.errors import AuditError

PRIVATE_DIR, PRIVATE_FILE = 0o700, 0o600


def private_directory(path: Path) -> None:
    """Makes it where it is not there. Raises AuditError."""
    try:
        path.mkdir(mode=PRIVATE_DIR, parents=True, exist_ok=True)
    except OSError as error:
        raise AuditError(f"the audit log's directory {path} cannot be made: {error.strerror}") from None
    if not os.access(path, os.R_OK | os.W_OK | os.X_OK):
        raise AuditError(f"the audit log's directory {path} cannot be written; give it to the user that runs the service")


def put_once(path: Path, content: bytes) -> bytes:
    """Writes a file unless it is there; what it holds then. Several processes may try at once: the first one wins.

    Raises OSError.
    """
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    file = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, PRIVATE_FILE)
    try:
        os.write(file, content)
        os.fsync(file)
    finally:
        os.close(file)
    try:
        os.link(fresh, path)
        sync_directory(path.parent)
    except FileExistsError:
        return path.read_bytes()
    finally:
        fresh.unlink()
    return content


def sync_directory(path: Path) -> None:
    """A name in it lasts from now on. Raises OSError."""
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
