"""Files that commands read and write. What is wrong with one is said with its name and, where there is one, its line."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from headrace.ext_proc.core.errors import HeadraceError


class FileError(HeadraceError):
    """A file of the command line that cannot be read or written; the message says which, where and why."""


def read_bytes(path: Path) -> bytes:
    """Raises FileError."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise FileError(cannot_read(error)) from None


def read_text(path: Path) -> str:
    """UTF-8, line ends as `\\n`. Raises FileError."""
    try:
        return path.read_text("utf-8")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise FileError(f"{path}:{line}: byte {error.object[error.start]:#04x} is not UTF-8") from None
    except OSError as error:
        raise FileError(cannot_read(error)) from None


def cannot_read(error: OSError) -> str:
    """What to say of a file that the system does not give."""
    return f"{error.filename}: cannot be read: {error.strerror or error}"


def write_text(path: Path, text: str) -> None:
    """All or nothing, with the mode the file had. Raises FileError."""
    with replaced(path) as beside:
        beside.write_text(text, "utf-8")


@contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """A file to write, which takes the place of `path` when all is written; a link stays one. What is no regular file, such as
    /dev/stdout, is written itself. Raises FileError.
    """
    try:
        if path.exists() and not path.is_file():
            yield path
        else:
            yield from _beside(path.resolve())
    except OSError as error:
        raise FileError(f"{path}: cannot be written: {error.strerror or error}") from None


def _beside(path: Path) -> Iterator[Path]:
    import tempfile  # with what it imports, 5 ms that commands which only read do without

    mode = path.stat().st_mode & 0o777 if path.exists() else 0o644
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    try:
        yield Path(name)
        Path(name).chmod(mode)
        Path(name).replace(path)
    finally:
        Path(name).unlink(missing_ok=True)
